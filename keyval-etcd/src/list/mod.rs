//! Lists: read in several ranges at once, as soon as it is known how large a page may be, all of one
//! revision, handed out in order.

mod pace;
mod pages;
mod plan;
mod reader;
mod scale;
#[cfg(test)]
mod tests;

pub(crate) use pages::list;

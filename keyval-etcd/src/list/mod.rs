//! Lists: read in several ranges at once, all of one revision, handed out in order.

mod pages;
mod plan;
mod scale;
#[cfg(test)]
mod tests;

pub(crate) use pages::list;

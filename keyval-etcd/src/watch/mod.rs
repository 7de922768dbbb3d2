//! Watching on etcd: many watches on few streams.
//!
//! Read from the bottom: `assemble` makes whole revisions of answers, `queue` holds them for a
//! reader, `backlog` tells how many, `demux` is the protocol of one stream, `stream` the task that drives it, `reader` is the
//! far end of a queue, `hub` keeps the streams of a store, and `watcher` opens watches.

mod assemble;
mod backlog;
mod demux;
mod ending;
mod hub;
mod progress;
mod queue;
mod reader;
mod stream;
mod watcher;

pub(crate) use hub::Hub;
pub(crate) use progress::requested_progress_is_exact;

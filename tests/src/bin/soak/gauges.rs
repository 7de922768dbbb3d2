//! What must not grow: memory, tasks and descriptors.

use std::fmt;

use tokio::runtime::Handle;

/// How many descriptors more than after the first round there may be: connections come and go.
const DESCRIPTORS: usize = 16;
/// How many tasks more than after the first round there may be.
const TASKS: usize = 16;
/// How much memory may grow by chance, in KiB: a check holds a whole round, and what it gives back
/// stays with the allocator.
const NOISE: u64 = 8 * 1024;
/// The same for the few readings of a short run, among them those of the warm-up.
const EARLY_NOISE: u64 = 48 * 1024;
/// From how many readings on a run is a long one.
const LONG: usize = 6;
/// How much memory may grow in ten minutes, in KiB.
const SLOPE: u64 = 1024;

/// One reading, taken while nothing happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    /// The memory of the process, in KiB.
    memory: u64,
    tasks: usize,
    descriptors: usize,
}

impl Gauges {
    pub(crate) fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().split(' ').next()?.parse().ok());
        Self {
            memory: memory.unwrap_or(0),
            tasks: Handle::current().metrics().num_alive_tasks(),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        }
    }
}

impl fmt::Display for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} MiB, {} tasks, {} descriptors",
            self.memory as f64 / 1024.0,
            self.tasks,
            self.descriptors
        )
    }
}

/// What grew over these readings, one a minute; the first is that of the warm-up.
pub(crate) fn grown(readings: &[Gauges]) -> Vec<String> {
    let [first, .., last] = readings else {
        return Vec::new();
    };
    let mut grown = Vec::new();
    if last.tasks > first.tasks + TASKS {
        grown.push(format!("tasks grew from {} to {}", first.tasks, last.tasks));
    }
    if last.descriptors > first.descriptors + DESCRIPTORS {
        grown.push(format!(
            "descriptors grew from {} to {}",
            first.descriptors, last.descriptors
        ));
    }
    // Buffers and the allocator settle within the first third.
    let settled = &readings[readings.len() / 3..];
    let (early, late) = settled.split_at(settled.len() / 2);
    let mean = |part: &[Gauges]| {
        let sum: u64 = part.iter().map(|reading| reading.memory).sum();
        sum / part.len().max(1) as u64
    };
    let minutes = readings.len() as u64;
    let (early, late) = (mean(early), mean(late));
    let noise = if readings.len() < LONG {
        EARLY_NOISE
    } else {
        NOISE
    };
    if late > early + noise + SLOPE * minutes / 10 {
        grown.push(format!("memory grew from {early} KiB to {late} KiB"));
    }
    grown
}

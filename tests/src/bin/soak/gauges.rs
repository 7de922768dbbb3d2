//! What must not grow: memory, tasks and descriptors.

use std::fmt;

use tokio::runtime::Handle;

/// By how much the least number of tasks or descriptors may grow. Each reading finds the stores at
/// other endpoints, with more or fewer connections that were used lately; the least of many readings
/// is that of stores that use one endpoint each, and a leak raises it.
const LEAST: usize = 8;
/// The same for the few readings of a short run, none of which need be such a one.
const EARLY_LEAST: usize = 32;
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
    if readings.len() < 2 {
        return Vec::new();
    }
    let mut grown = Vec::new();
    let long = readings.len() >= LONG;
    // Buffers and the allocator settle within the first third.
    let settled = &readings[readings.len() / 3..];
    let (early, late) = settled.split_at(settled.len() / 2);
    let slack = if long { LEAST } else { EARLY_LEAST };
    let least = |part: &[Gauges], count: fn(&Gauges) -> usize| part.iter().map(count).min();
    for (what, count) in [
        ("tasks", (|reading| reading.tasks) as fn(&Gauges) -> usize),
        ("descriptors", |reading| reading.descriptors),
    ] {
        let before = least(early, count).unwrap_or(0);
        let now = least(late, count).unwrap_or(0);
        if now > before + slack {
            grown.push(format!("{what} grew from {before} to {now}"));
        }
    }
    let mean = |part: &[Gauges]| {
        let sum: u64 = part.iter().map(|reading| reading.memory).sum();
        sum / part.len().max(1) as u64
    };
    let minutes = readings.len() as u64;
    let (early, late) = (mean(early), mean(late));
    let noise = if long { NOISE } else { EARLY_NOISE };
    if late > early + noise + SLOPE * minutes / 10 {
        grown.push(format!("memory grew from {early} KiB to {late} KiB"));
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::{Gauges, grown};

    fn readings(tasks: impl IntoIterator<Item = usize>) -> Vec<Gauges> {
        let reading = |tasks| Gauges {
            memory: 80 * 1024,
            tasks,
            descriptors: 52,
        };
        tasks.into_iter().map(reading).collect()
    }

    #[test]
    fn connections_that_come_and_go_are_no_growth() {
        let swings = [72, 81, 80, 72, 78, 88, 91, 76, 72, 92];
        assert!(grown(&readings(swings)).is_empty());
    }

    #[test]
    fn one_task_more_in_each_minute_is_found_out_in_half_an_hour() {
        let leak = (0..30).map(|minute| 72 + minute + (minute % 3) * 8);
        assert_eq!(grown(&readings(leak)), ["tasks grew from 84 to 93"]);
    }

    #[test]
    fn many_tasks_more_are_found_out_at_once() {
        assert_eq!(grown(&readings([72, 120])), ["tasks grew from 72 to 120"]);
    }
}

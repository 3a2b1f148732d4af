//! What is read at the moment of a scrape: what is under way, and what the kernel says of this process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::telemetry::panics;

/// Something of the data plane that others count.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) count: Arc<AtomicUsize>,
}

impl Collector for UnderWay {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = ConstGauge::new(self.count.load(Ordering::Relaxed));
        now.encode(encoder.encode_descriptor(self.name, self.help, None, now.metric_type())?)
    }
}

/// What must not happen, in this process.
#[derive(Debug)]
pub(super) struct Panics;

impl Collector for Panics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let panics = ConstCounter::new(panics::count());
        let help = "Errors of the sidecar's own, which the log names.";
        panics.encode(encoder.encode_descriptor("panics", help, None, panics.metric_type())?)
    }
}

/// This process, as Linux shows it under `/proc`. Elsewhere, and where it cannot be read, the series are absent.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stat = read("self/stat");
        let times = stat.as_deref().and_then(times);
        if let Some(times) = times {
            let cpu = ConstCounter::new(times.cpu);
            let help = "CPU time used, user and system.";
            let unit = Some(&Unit::Seconds);
            cpu.encode(encoder.encode_descriptor("process_cpu", help, unit, cpu.metric_type())?)?;
        }
        let booted = read("stat").as_deref().and_then(boot_time);
        let started = times.zip(booted).map(|(times, booted)| booted + times.after_boot);
        let status = read("self/status").unwrap_or_default();
        let resident = field(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024.0);
        let fds = std::fs::read_dir("/proc/self/fd").ok();
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let fds = fds.map(|entries| entries.count() as f64);
        let gauges = [
            (
                "process_start_time",
                "Start, since the Unix epoch.",
                Some(Unit::Seconds),
                started,
            ),
            (
                "process_resident_memory",
                "Resident memory.",
                Some(Unit::Bytes),
                resident,
            ),
            ("process_open_fds", "Open file descriptors.", None, fds),
            ("process_threads", "Threads.", None, field(&status, "Threads:")),
        ];
        for (name, help, unit, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{path}")).ok()
}

/// The kernel's unit in `/proc/self/stat`: `USER_HZ` is 100 on every architecture that Rust's Linux targets have,
/// whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// In seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    cpu: f64,
    after_boot: f64,
}

/// Reads `/proc/self/stat` (`man proc_pid_stat`): fields 14, 15 and 22. The name in parentheses may hold anything, so
/// fields are counted from the last one.
fn times(stat: &str) -> Option<Times> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first field after the name is number 3.
    let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Times {
        cpu: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
        after_boot: ticks(22)? / TICKS_PER_SECOND,
    })
}

/// Reads `btime` from `/proc/stat`: when the machine booted, in seconds since the Unix epoch.
fn boot_time(stat: &str) -> Option<f64> {
    field(stat, "btime")
}

/// The number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_spaces_and_parentheses_misleads_nobody() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 3 0 12345 0 0";
        let expected = Times {
            cpu: 3.0,
            after_boot: 123.45,
        };
        assert_eq!(times(stat), Some(expected));
        assert_eq!(times("7 (a) S 1"), None);
        assert_eq!(times(""), None);
    }

    #[test]
    fn fields_are_found_at_the_beginning_of_a_line() {
        assert_eq!(field("VmHWM: 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12.0));
        assert_eq!(field("VmRSS:\n", "VmRSS:"), None);
        assert_eq!(boot_time("cpu 1\nbtime 1700000000\n"), Some(1.7e9));
    }
}

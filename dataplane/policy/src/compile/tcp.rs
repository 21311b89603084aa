//! How connections behave.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::report::Report;
use crate::rules;
use crate::snapshot::Tcp;
use crate::yaml::Path;

/// What a buffer can grow to.
const WINDOW: RangeInclusive<u64> = 64 << 10..=64 << 20;
/// Memory for what buffers grow by; the most is taken for a typing error beyond it.
const WINDOW_MEMORY: RangeInclusive<u64> = 0..=64 << 30;
/// The floor of retransmission timeouts: the granularity of timers, and what RFC 6298 begins with.
const MIN_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(1);

/// How long a peer may be silent: below a second, a single loss or a client that only thinks would do.
const PATIENCE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

pub(super) fn compile(tcp: &rules::Tcp, report: &mut Report<'_>) -> Tcp {
    let path = Path::section("tcp");
    let min_timeout = path.key("min_timeout");
    if !MIN_TIMEOUT.contains(&tcp.min_timeout.0) {
        report.wrong(
            &min_timeout,
            format!("{} is outside 1ms to 1s", tcp.min_timeout),
        );
    }
    for (key, period) in [
        ("user_timeout", tcp.user_timeout),
        ("keep_alive", tcp.keep_alive),
    ] {
        if !PATIENCE.contains(&period.0) {
            report.wrong(&path.key(key), format!("{period} is outside 1s to 24h"));
        }
    }
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let memory = report.size(&path.key("window_memory"), tcp.window_memory, WINDOW_MEMORY);
    Tcp {
        window: bytes(report.size(&path.key("window"), tcp.window, WINDOW)),
        window_memory: bytes(memory),
        min_timeout: tcp.min_timeout.0,
        user_timeout: tcp.user_timeout.0,
        keep_alive: tcp.keep_alive.0,
        congestion: tcp.congestion,
    }
}

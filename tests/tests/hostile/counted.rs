//! The fates that the gateway counts for what a test plays through it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use sluice_tests::gateway::Gateway;

/// Longest until all is over for a client that has closed its connection.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);

/// The totals of a gateway that has nothing under way.
pub(crate) struct Counted(BTreeMap<String, f64>);

impl Counted {
    /// The totals once no client's connection is open and `connections` more than in `before` were.
    pub(crate) fn after(
        gateway: &Gateway<'_>,
        before: Option<&Counted>,
        connections: u32,
    ) -> Counted {
        let opened = |counted: &Counted| counted.0[r#"sluice_events_total{worker="0",event="downstream_opened"}"#];
        let expected = before.map_or(0.0, opened) + f64::from(connections);
        let deadline = Instant::now() + SETTLES_WITHIN;
        loop {
            let now = Counted(gateway.metrics());
            let open = now.0[r#"sluice_downstream_connections{worker="0"}"#];
            if open == 0.0 && opened(&now) >= expected {
                return now;
            }
            assert!(
                Instant::now() < deadline,
                "{open} connections are still open"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Requests of this fate since `before`.
    pub(crate) fn count(&self, fate: &str, before: &Counted) -> u32 {
        self.more(
            &format!(r#"sluice_request_fates_total{{worker="0",fate="{fate}"}}"#),
            before,
        )
    }

    /// Answers of this status since `before`.
    pub(crate) fn status(&self, status: &str, before: &Counted) -> u32 {
        self.more(
            &format!(r#"sluice_requests_total{{worker="0",status="{status}"}}"#),
            before,
        )
    }

    /// Requests of any fate since `before`.
    pub(crate) fn requests(&self, before: &Counted) -> u32 {
        let fates = self
            .0
            .keys()
            .filter(|name| name.starts_with("sluice_request_fates_total"));
        fates.map(|name| self.more(name, before)).sum()
    }

    /// Requests under way, and connections to services that do not wait in a pool.
    pub(crate) fn under_way(&self) -> [u32; 2] {
        let level = |name: &str| self.0[&format!(r#"sluice_{name}{{worker="0"}}"#)] as u32;
        [
            level("exchanges"),
            level("upstream_connections") - level("upstream_idle_connections"),
        ]
    }

    fn more(&self, name: &str, before: &Counted) -> u32 {
        let total = |counted: &Counted| counted.0.get(name).copied().unwrap_or_default();
        (total(self) - total(before)) as u32
    }

    /// The fates of requests that have come since `before`: in alphabetical order, each with its
    /// number where that is not one.
    pub(crate) fn fates_since(&self, before: &Counted) -> String {
        let mut fates = Vec::new();
        for (name, total) in &self.0 {
            let fate = name.strip_prefix(r#"sluice_request_fates_total{worker="0",fate=""#);
            let more = total - before.0.get(name).copied().unwrap_or_default();
            match fate.and_then(|fate| fate.strip_suffix("\"}")) {
                Some(fate) if more == 1.0 => fates.push(fate.to_owned()),
                Some(fate) if more > 0.0 => fates.push(format!("{fate} {more}")),
                _ => {}
            }
        }
        fates.join(", ")
    }
}

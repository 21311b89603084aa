//! Sluice's own account of its core, asked for at both ends of a measurement.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::measure::WARM_UP;
use crate::load::run::Stage;
use crate::report::gaps::Gaps;

/// What a Sluice has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Account {
    /// Seconds that its workers had work, in their own code and in drivers.
    worked: f64,
    /// Requests that have ended.
    requests: f64,
    /// When its workers were without their cores.
    gaps: Gaps,
}

impl Account {
    /// From metrics.
    pub(super) fn of(metrics: &str) -> Option<Account> {
        let (mut cycles, mut hz, mut requests) = (0.0, 0.0, 0.0);
        let mut gaps = Gaps::default();
        for line in metrics.lines() {
            let Some((name, Ok(value))) = line
                .rsplit_once(' ')
                .map(|(name, value)| (name, value.parse::<f64>()))
            else {
                continue;
            };
            let kinds = ["kind=\"busy\"", "kind=\"driver\""];
            if name.starts_with("sluice_cycles_total{")
                && kinds.iter().any(|kind| name.contains(kind))
            {
                cycles += value;
            } else if name.starts_with("sluice_request_fates_total{") {
                requests += value;
            } else if name.starts_with("sluice_gaps_total{") {
                gaps.count += value as u64;
            } else if name.starts_with("sluice_gap_seconds_total{") {
                gaps.seconds += value;
            } else if name.starts_with("sluice_gap_longest_seconds{") {
                gaps.longest_us = gaps.longest_us.max(value * 1e6);
            } else if name == "sluice_tsc_hz" {
                hz = value;
            }
        }
        (hz > 0.0).then(|| Account {
            worked: cycles / hz,
            requests,
            gaps,
        })
    }

    /// Microseconds of work for each request since then.
    fn work_per_request(self, then: Account) -> Option<f64> {
        let requests = self.requests - then.requests;
        (requests > 0.0).then(|| (self.worked - then.worked) * 1e6 / requests)
    }

    /// Gaps since then. Of the longest only that since its start is told: where that has not grown, those since
    /// then were at most as long, and no longer than all of them together.
    fn gaps_since(self, then: Account) -> Gaps {
        let seconds = self.gaps.seconds - then.gaps.seconds;
        Gaps {
            count: self.gaps.count.saturating_sub(then.gaps.count),
            seconds,
            longest_us: self.gaps.longest_us.min(seconds * 1e6),
        }
    }
}

/// The accounts at both ends of a measurement. The first is asked for in the middle of the warm-up and not at the
/// end of it: an answer takes the better part of a millisecond on the generator's core. The second as soon as the
/// generator says that it counts no more requests.
#[derive(Debug)]
pub(super) struct Ends {
    /// What the generator says, its stages among it.
    log: PathBuf,
    /// When its load began.
    loaded: Option<Instant>,
    first: Option<(Instant, Account)>,
    last: Option<(Instant, Account)>,
}

impl Ends {
    pub(super) fn new(log: &Path) -> Ends {
        Ends {
            log: log.to_owned(),
            loaded: None,
            first: None,
            last: None,
        }
    }

    /// To be called every few milliseconds: asks where it is time to.
    pub(super) fn look(&mut self, ask: impl Fn() -> Option<Account>) {
        let ask = || ask().map(|account| (Instant::now(), account));
        match (self.loaded, self.first, self.last) {
            (None, ..) => {
                self.loaded = self.says(Stage::WarmUp).then(Instant::now);
            }
            (Some(loaded), None, _) if loaded.elapsed() >= WARM_UP / 2 => self.first = ask(),
            (Some(_), Some(_), None) if self.says(Stage::Draining) => self.last = ask(),
            _ => {}
        }
    }

    fn says(&self, stage: Stage) -> bool {
        let line = format!("stage: {}", stage.word());
        fs::read_to_string(&self.log).is_ok_and(|said| said.lines().any(|l| l.ends_with(&line)))
    }

    /// Microseconds of work for each request in between.
    pub(super) fn work_per_request(&self) -> Option<f64> {
        self.last?.1.work_per_request(self.first?.1)
    }

    /// Gaps in the measured time: its share of those in between.
    pub(super) fn gaps(&self, measured_s: f64) -> Option<Gaps> {
        let ((began, first), (ended, last)) = (self.first?, self.last?);
        let between = ended.duration_since(began).as_secs_f64();
        let gaps = last.gaps_since(first);
        Some(gaps.scaled((measured_s / between.max(1e-9)).min(1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sluice_works_in_its_own_code_and_in_drivers() {
        let metrics = |busy: u32, answered: u32, gaps: f64| {
            format!(
                "# HELP x\nsluice_cycles_total{{worker=\"0\",kind=\"busy\"}} {busy}\n\
                 sluice_cycles_total{{worker=\"0\",kind=\"driver\"}} 1000\n\
                 sluice_cycles_total{{worker=\"0\",kind=\"idle\"}} 9000\nsluice_tsc_hz 1000\n\
                 sluice_gaps_total{{worker=\"0\"}} {answered}\n\
                 sluice_gap_seconds_total{{worker=\"0\"}} {gaps}\n\
                 sluice_gap_longest_seconds{{worker=\"0\"}} 0.002\n\
                 sluice_request_fates_total{{worker=\"0\",fate=\"answered\"}} {answered}\n\
                 sluice_request_fates_total{{worker=\"0\",fate=\"no_route\"}} 3\n"
            )
        };
        let (then, now) = (
            Account::of(&metrics(2_000, 7, 0.5)),
            Account::of(&metrics(6_000, 107, 0.5015)),
        );
        let (then, now) = (then.unwrap(), now.unwrap());
        assert_eq!((then.worked, then.requests), (3.0, 10.0));
        assert_eq!(now.work_per_request(then), Some(40_000.0));
        assert_eq!(now.work_per_request(now), None);
        // The longest since the start is longer than all that were since then.
        let gaps = now.gaps_since(then);
        assert_eq!(gaps.count, 100);
        assert!((gaps.seconds - 0.0015).abs() < 1e-9, "{gaps:?}");
        assert!((gaps.longest_us - 1_500.0).abs() < 0.01, "{gaps:?}");
        assert_eq!(Account::of(""), None);
    }
}

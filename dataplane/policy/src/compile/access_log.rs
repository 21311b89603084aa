//! The access log: where lines go, and how many of the requests are noted.

use super::report::Report;
use crate::rules::{self, Percent, Rules};
use crate::snapshot::{AccessLog, LogTarget};
use crate::yaml::Path;

/// Requests that may wait to be written: a record is some 1.5 KiB.
const BUFFER: std::ops::RangeInclusive<u32> = 64..=1 << 20;
/// Longest name of a file (`PATH_MAX` on Linux, the final NUL left out).
const MAX_FILE: usize = 4095;

pub(super) fn compile(rules: &Rules, report: &mut Report<'_>) -> Option<AccessLog> {
    let log = rules.access_log.as_ref()?;
    let path = Path::section("access_log");
    let file = path.key("file");
    let target = match log.file.as_str() {
        "-" => LogTarget::Stdout,
        name => LogTarget::File(name.into()),
    };
    if log.file.is_empty() || log.file.len() > MAX_FILE || log.file.contains('\0') {
        let mend = "write a path such as /var/log/sluice/access.json, or \"-\" for standard output";
        report.mend(&file, format!("{:?} is no name of a file", log.file), mend);
    }
    let buffer = report.number(&path.key("buffer"), log.buffer, BUFFER);
    Some(AccessLog {
        target,
        sample: log.sample.per_million(),
        only: log.only,
        buffer: buffer as usize,
    })
}

/// How many of a route's requests are noted, in parts per million.
pub(super) fn sample(
    path: &Path,
    route: &rules::Route,
    log: Option<&rules::AccessLog>,
    report: &mut Report<'_>,
) -> u32 {
    if route.access_log.is_some() && log.is_none() && !report.is_any_broken("access_log") {
        report.mend(
            &path.key("access_log"),
            "there is no access log",
            "add one, such as access_log: { file: /var/log/sluice/access.json }",
        );
    }
    let own = route.access_log.map(|own| own.sample);
    own.or(log.map(|log| log.sample))
        .map_or(0, Percent::per_million)
}

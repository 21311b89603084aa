//! What becomes of a run's report: printed, written, judged.

use std::io::{Write, stdout};
use std::path::Path;

use super::args::RunArgs;
use super::error::RunError;
use super::run::system;
use super::say;
use super::summary::Done;
use super::table::table;
use crate::load::server::Served;
use crate::report::output::{print_beside, try_out, write};
use crate::report::{RunReport, hlog, html};

/// Looks before anything starts whether there will be a place for the reports.
pub(super) fn try_out_files(args: &RunArgs) -> Result<(), RunError> {
    try_out(&[
        ("json", &args.json),
        ("hlog", &args.hlog),
        ("html", &args.html),
    ])
    .map_err(|error| RunError::Report(error.into()))
}

/// Prints, writes, judges.
pub(super) fn deliver(args: &RunArgs, report: &RunReport, done: &[Done]) -> Result<bool, RunError> {
    let mut table = table(report);
    if args.backend.is_some()
        && let Some(served) = done.last().map(|done| done.outcome.served)
    {
        table.push_str(&backend_line(served));
    }
    let put =
        |path: &Path, text: &str| write(path, text).map_err(|error| RunError::Report(error.into()));
    print_beside(&table, &[&args.json, &args.hlog, &args.html])
        .map_err(|error| RunError::Report(error.into()))?;
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(report)
            .map_err(|error| system("the report cannot be written")(error.into()))?;
        put(path, &(text + "\n"))?;
    }
    let runs = std::slice::from_ref(report);
    if let Some(path) = &args.hlog {
        put(path, &hlog::log(runs)?)?;
    }
    if let Some(path) = &args.html {
        put(path, &html::page(&report.name, &[], runs)?)?;
    }
    let mut holds = report.totals.answers > 0;
    if !holds {
        say(nothing(report));
    }
    // It counts from the start.
    holds &= done.last().is_none_or(|done| is_whole(done.outcome.served));
    for expectation in &args.expect {
        let verdict = expectation.judge(report);
        say(&verdict);
        holds &= verdict.holds;
    }
    Ok(holds)
}

/// Why there is no answer.
fn nothing(report: &RunReport) -> &'static str {
    let totals = &report.totals;
    if totals.all_errors() > 0 {
        "error: no request was answered; the errors above say why"
    } else if !totals.unopened.is_empty() {
        "error: no request was answered: no connection was open before the end; `opening` above says why"
    } else {
        "error: no request was answered, and none failed: the run ended before; give it more time"
    }
}

/// What a backend that served alone has seen; false where it came damaged.
pub(super) fn backend(served: Served) -> Result<bool, RunError> {
    let printed = stdout().write_all(backend_line(served).as_bytes());
    printed.map_err(system("the figures cannot be printed"))?;
    Ok(is_whole(served))
}

fn backend_line(served: Served) -> String {
    let mut text = format!(
        "backend     {} requests on {} connections, {} malformed, {} wrong bodies\n",
        served.requests, served.connections, served.malformed, served.wrong_bodies
    );
    if served.early > 0 {
        text.push_str(&format!(
            "            {} came before the one in front of them was answered\n",
            served.early
        ));
    }
    text
}

/// Whether nothing reached the backend damaged, and says so otherwise.
fn is_whole(served: Served) -> bool {
    let whole = served.malformed + served.wrong_bodies == 0;
    if !whole {
        say("error: requests reached the backend damaged");
    }
    whole
}

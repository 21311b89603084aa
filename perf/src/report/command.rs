//! `sluice bench report`: looks at runs that were measured before.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use thiserror::Error;

use super::html::page;
use super::latency::NoHistogram;
use super::output::{OutputError, print, print_beside, try_out, write};
use super::tables::figures;
use super::{FORM_BEFORE, RUN_FORM, RunReport, hlog, schema};

/// How the form of a comparison begins, whatever its number.
const COMPARISON: &str = "sluice-bench-compare/";

/// Looks at runs measured before, side by side.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Reports written by `sluice bench run --json`, in the order to show them.
    #[arg(required_unless_present = "schema", value_name = "RUN.json")]
    runs: Vec<PathBuf>,
    /// Write one HTML page with plots of all runs, which needs no network; "-" is standard output.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the runs' intervals as a log of histograms (HdrHistogram log format 1.3); "-" is standard output.
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Title of the page.
    #[arg(long, value_name = "TEXT", default_value = "Load runs")]
    title: String,
    /// Print the JSON Schema of such a report and exit.
    #[arg(long, exclusive = true)]
    schema: bool,
}

/// Why runs can't be shown.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A file can't be read.
    #[error("{0}: {1}")]
    Read(PathBuf, io::Error),
    /// There is no place for what was asked for.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A file is a comparison.
    #[error(
        "{0}: this is a comparison, not a run: sluice bench compare shows it by its tables and --html; give a report \
         that sluice bench run --json wrote"
    )]
    Comparison(PathBuf),
    /// A file is something else.
    #[error(
        "{0}: not a report of sluice bench run: {1}\n  write one: sluice bench run ... --json {0}"
    )]
    NoReport(PathBuf, serde_json::Error),
    /// A file is of a version with another form.
    #[error("{0}: its form is {1:?}, this sluice reads {RUN_FORM:?}; use the sluice that wrote it")]
    OtherForm(PathBuf, String),
    /// A histogram is broken.
    #[error(transparent)]
    Histogram(#[from] NoHistogram),
}

impl ReportError {
    /// Whether it is how the command was typed that is wrong.
    pub fn is_usage(&self) -> bool {
        matches!(self, ReportError::Output(error) if error.is_usage())
    }
}

/// Runs the command: the table of figures goes to stdout.
pub fn command(args: &ReportArgs) -> ExitCode {
    match report(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice bench report: {error}");
            match error.is_usage() {
                true => ExitCode::from(2),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn report(args: &ReportArgs) -> Result<(), ReportError> {
    if args.schema {
        return Ok(print(&schema())?);
    }
    try_out(&[("html", &args.html), ("hlog", &args.hlog)])?;
    let mut runs = args
        .runs
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?;
    tell_apart(&mut runs, &args.runs);
    if let Some(path) = &args.html {
        write(path, &page(&args.title, &[], &runs)?)?;
    }
    if let Some(path) = &args.hlog {
        write(path, &hlog::log(&runs)?)?;
    }
    let table = figures(&runs).to_string();
    Ok(print_beside(&table, &[&args.html, &args.hlog])?)
}

fn read(path: &Path) -> Result<RunReport, ReportError> {
    let text = fs::read_to_string(path).map_err(|error| ReportError::Read(path.into(), error))?;
    let no_report = |error| ReportError::NoReport(path.into(), error);
    // The form first: in another one, anything may be called otherwise.
    let value: serde_json::Value = serde_json::from_str(&text).map_err(no_report)?;
    let form = value.get("form").and_then(|form| form.as_str());
    if form.is_some_and(|form| form.starts_with(COMPARISON)) {
        return Err(ReportError::Comparison(path.into()));
    }
    if let Some(form) = form
        && ![RUN_FORM, FORM_BEFORE].contains(&form)
    {
        return Err(ReportError::OtherForm(path.into(), form.to_owned()));
    }
    serde_json::from_value(value).map_err(no_report)
}

/// Runs of the same name have that of their file behind it, and a number where that is the same as well.
fn tell_apart(runs: &mut [RunReport], files: &[PathBuf]) {
    let given: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (run, file) in runs.iter_mut().zip(files) {
        let same = given.iter().filter(|name| **name == run.name).count();
        if same > 1
            && let Some(stem) = file.file_stem()
        {
            run.name = format!("{} ({})", run.name, stem.to_string_lossy());
        }
    }
    let mut taken: HashSet<String> = HashSet::new();
    for run in runs {
        let name = run.name.clone();
        let mut number = 2;
        while !taken.insert(run.name.clone()) {
            run.name = format!("{name} {number}");
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn runs_of_one_name_are_told_apart_by_their_files_and_then_by_number() {
        let names = |given: &[(&str, &str)]| {
            let mut runs: Vec<RunReport> = given.iter().map(|(name, _)| run(name)).collect();
            let files: Vec<PathBuf> = given.iter().map(|(_, file)| file.into()).collect();
            tell_apart(&mut runs, &files);
            runs.into_iter().map(|run| run.name).collect::<Vec<_>>()
        };
        let (one, two) = (
            ("10.0.0.1:80", "before.json"),
            ("10.0.0.1:80", "/tmp/after.json"),
        );
        assert_eq!(
            names(&[one, two, ("b", "b.json")]),
            ["10.0.0.1:80 (before)", "10.0.0.1:80 (after)", "b"]
        );
        assert_eq!(
            names(&[
                ("a", "1/run.json"),
                ("a", "2/run.json"),
                ("a (run)", "x.json")
            ]),
            ["a (run)", "a (run) 2", "a (run) 3"]
        );
    }
}

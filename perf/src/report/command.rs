//! `sluice bench report`: looks at runs that were measured before.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use thiserror::Error;

use super::html::page;
use super::latency::NoHistogram;
use super::tables::figures;
use super::{FORM_BEFORE, RUN_FORM, RunReport, hlog, schema};

/// Looks at runs measured before, side by side.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Reports written by `sluice bench run --json`, in the order to show them.
    #[arg(required_unless_present = "schema", value_name = "RUN.json")]
    runs: Vec<PathBuf>,
    /// Write one HTML page with plots of all runs, which needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the runs' intervals as a log of histograms (HdrHistogram log format 1.3).
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
    /// A file can't be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, io::Error),
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

/// Runs the command: the table of figures goes to stdout.
pub fn command(args: &ReportArgs) -> ExitCode {
    match report(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice bench report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(args: &ReportArgs) -> Result<(), ReportError> {
    if args.schema {
        return print(&schema());
    }
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
    print(&figures(&runs).to_string())
}

fn read(path: &Path) -> Result<RunReport, ReportError> {
    let text = fs::read_to_string(path).map_err(|error| ReportError::Read(path.into(), error))?;
    let no_report = |error| ReportError::NoReport(path.into(), error);
    // The form first: in another one, anything may be called otherwise.
    let value: serde_json::Value = serde_json::from_str(&text).map_err(no_report)?;
    if let Some(form) = value.get("form").and_then(|form| form.as_str())
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

/// Whether a file can be written, before there is anything to write. What is there stays as it is.
///
/// # Errors
///
/// The file can't be written.
pub fn try_out(path: &Path) -> Result<(), ReportError> {
    let is_new = !path.exists();
    let tried = fs::OpenOptions::new().create(true).append(true).open(path);
    tried.map_err(|error| ReportError::Write(path.into(), error))?;
    if is_new {
        // Empty, it would tell nothing.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Writes a file of a report.
///
/// # Errors
///
/// The file can't be written.
pub fn write(path: &Path, text: &str) -> Result<(), ReportError> {
    fs::write(path, text).map_err(|error| ReportError::Write(path.into(), error))
}

fn print(text: &str) -> Result<(), ReportError> {
    let printed = io::stdout().write_all(text.as_bytes());
    // Whoever reads may have seen enough.
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ReportError::Write("standard output".into(), error))
        }
        _ => Ok(()),
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

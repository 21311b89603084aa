//! Where reports go: files, or standard output for "-".

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why there is no place for a report.
#[derive(Debug, Error)]
pub enum OutputError {
    /// Two would be mixed there.
    #[error("--{0} and --{1} both go to standard output; give one of them a file")]
    TwoToStdout(&'static str, &'static str),
    /// The second would overwrite the first.
    #[error("--{0} and --{1} both go to {2}; give each a file of its own")]
    TwoToFile(&'static str, &'static str, PathBuf),
    /// It can't be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, io::Error),
}

impl OutputError {
    /// Whether it is how the command was typed that is wrong.
    pub fn is_usage(&self) -> bool {
        !matches!(self, OutputError::Write(..))
    }
}

/// Looks, before there is anything to write, whether each file of these options can be written and is that of no
/// other. What is there stays as it is.
///
/// # Errors
///
/// Two options name the same file, or a file can't be written.
pub fn try_out(options: &[(&'static str, &Option<PathBuf>)]) -> Result<(), OutputError> {
    let given = || {
        options
            .iter()
            .filter_map(|(name, path)| Some((*name, path.as_deref()?)))
    };
    for (at, (name, path)) in given().enumerate() {
        for (other, before) in given().take(at) {
            if is_stdout(path) && is_stdout(before) {
                return Err(OutputError::TwoToStdout(other, name));
            }
            if is_same(path, before) {
                return Err(OutputError::TwoToFile(other, name, path.into()));
            }
        }
    }
    given()
        .filter(|(_, path)| !is_stdout(path))
        .try_for_each(|(_, path)| try_file(path))
}

/// Whether it is standard output that is meant.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Writes a report.
///
/// # Errors
///
/// The file can't be written, or standard output takes nothing.
pub fn write(path: &Path, text: &str) -> Result<(), OutputError> {
    if is_stdout(path) {
        return print(text);
    }
    fs::write(path, text).map_err(|error| OutputError::Write(path.into(), error))
}

/// To standard output.
///
/// # Errors
///
/// It takes nothing, other than because nobody reads any more.
pub fn print(text: &str) -> Result<(), OutputError> {
    let printed = io::stdout().write_all(text.as_bytes());
    // Whoever reads may have seen enough.
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(OutputError::Write("standard output".into(), error))
        }
        _ => Ok(()),
    }
}

/// Tables, to standard output, or to stderr where a report goes there.
///
/// # Errors
///
/// As of [`print`].
pub fn print_beside(text: &str, reports: &[&Option<PathBuf>]) -> Result<(), OutputError> {
    if reports
        .iter()
        .any(|path| path.as_deref().is_some_and(is_stdout))
    {
        // A reader that went away is no reason to stop.
        let _ = io::stderr().write_all(text.as_bytes());
        return Ok(());
    }
    print(text)
}

/// Devices such as /dev/null take any number.
fn is_same(one: &Path, other: &Path) -> bool {
    let is_file = |path: &Path| !path.exists() || path.is_file();
    is_file(one) && (one == other || place(one).is_some_and(|at| Some(at) == place(other)))
}

/// Without links and detours; of a file that is not there yet, as of its directory.
fn place(path: &Path) -> Option<PathBuf> {
    if let Ok(whole) = path.canonicalize() {
        return Some(whole);
    }
    let directory = match path.parent()? {
        empty if empty.as_os_str().is_empty() => Path::new("."),
        directory => directory,
    };
    Some(directory.canonicalize().ok()?.join(path.file_name()?))
}

fn try_file(path: &Path) -> Result<(), OutputError> {
    let is_new = !path.exists();
    let tried = fs::OpenOptions::new().create(true).append(true).open(path);
    tried.map_err(|error| OutputError::Write(path.into(), error))?;
    if is_new {
        // Empty, it would tell nothing.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(one: &str, other: &str) -> Option<String> {
        let (one, other) = (Some(one.into()), Some(other.into()));
        let tried = try_out(&[("json", &one), ("html", &other)]);
        tried.err().map(|error| {
            assert!(error.is_usage());
            error.to_string()
        })
    }

    #[test]
    fn two_reports_do_not_go_to_one_place() {
        assert_eq!(
            refused("-", "-").as_deref(),
            Some("--json and --html both go to standard output; give one of them a file")
        );
        let words = "--json and --html both go to ./new; give each a file of its own";
        assert_eq!(refused("new", "./new").as_deref(), Some(words));
        assert!(refused("Cargo.toml", "src/../Cargo.toml").is_some());
        assert_eq!(refused("/dev/null", "/dev/null"), None);
        assert_eq!(refused("-", "/dev/null"), None);
    }
}

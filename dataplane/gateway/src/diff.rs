//! `sluice diff`: what a new file would change, in words.

use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use sluice_policy::{compatible, compile, diff, load};

use crate::check::{SHOWN, show};
use crate::log;
use crate::room::Room;

/// Says what `new` would change for a gateway that runs `old`. Both files have to be right.
pub(crate) fn command(old: &Path, new: &Path) -> ExitCode {
    let read = |path: &Path| {
        load(path).and_then(|rules| {
            let snapshot = compile(&rules)?;
            Ok((rules, snapshot))
        })
    };
    let ((old, started), (new, snapshot)) = match (read(old), read(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            for problems in [old.err(), new.err()].into_iter().flatten() {
                show(&problems, SHOWN);
            }
            return ExitCode::FAILURE;
        }
    };
    let mut text = String::new();
    for said in diff(&old, &new) {
        let _ = writeln!(text, "{said}");
    }
    if text.is_empty() {
        text.push_str("nothing changes\n");
    }
    for problem in compatible(&old, &new).err().unwrap_or_default() {
        let _ = writeln!(text, "a running gateway would refuse this: {problem}");
    }
    if let Some(what) = Room::of(&started).exceeded(&snapshot) {
        let _ = writeln!(
            text,
            "a gateway that started with the old file would warn: {what}"
        );
    }
    match stdout()
        .write_all(text.as_bytes())
        .and_then(|()| stdout().flush())
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(format_args!("stdout takes no output: {error}"));
            ExitCode::FAILURE
        }
    }
}

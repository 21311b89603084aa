//! Wrong usage of the scripts and the simulator is said at once, with exit code 2.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, Output};

fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .output()
        .expect("it starts")
}

#[test]
fn scripts_refuse_arguments_they_do_not_know() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    for (script, arguments) in [
        ("demo", &["--once", "extra"][..]),
        ("demo", &["extra"]),
        ("test", &["--all", "extra"]),
        ("test", &["x", "y"]),
        ("setup", &["x"]),
        ("setup", &["", "x"]),
        ("lab", &["sideways"]),
    ] {
        let output = run(scripts.join(script), arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{script} {arguments:?}: {said}"
        );
        assert!(said.contains("--help"), "{said}");
    }
}

/// Without a compiler to be found, so without building anything.
#[test]
fn scripts_say_at_once_how_they_are_used() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    for script in ["demo", "fuzz", "lab", "release", "setup", "sim", "test"] {
        let output = Command::new(scripts.join(script))
            .arg("--help")
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .env("CARGO_HOME", "/nonexistent")
            .env("CARGO", "/nonexistent")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}: {output:?}");
        let usage = format!("Usage: scripts/{script}");
        assert!(said.starts_with(&usage), "{script}: {said}");
    }
}

#[test]
fn the_simulator_plays_at_least_something() {
    for arguments in [
        &["--seeds", "0"][..],
        &["--minutes", "0"],
        &["--seeds"],
        &["--seeds", "1", "2"],
    ] {
        let output = run(env!("CARGO_BIN_EXE_sluice-sim"), arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("scripts/sim --help"), "{said}");
    }
}

//! RPC frameworks that are not ours, each made ready on first use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The client and server of volo-thrift: one program, see `tests/peers/volo`.
pub fn volo() -> PathBuf {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/volo/build");
    let printed = run(&mut Command::new(build));
    PathBuf::from(printed.trim())
}

const THRIFTPY: &str = "thriftpy2==0.7.1";

/// The interpreter that has thriftpy2, made once per target directory: `temporary` is the test's
/// `CARGO_TARGET_TMPDIR`.
pub fn thriftpy(temporary: &str) -> PathBuf {
    let directory = Path::new(temporary).join(THRIFTPY);
    fs::create_dir_all(&directory).expect("the target directory can be written to");
    // Tests are processes of their own, and one of them makes it.
    let lock = File::create(directory.join("lock")).expect("the lock can be made");
    lock.lock().expect("the lock can be taken");
    let python = directory.join("venv/bin/python");
    let complete = directory.join("complete");
    if !complete.exists() {
        let venv = directory.join("venv");
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", THRIFTPY]));
        File::create(complete).expect("the target directory can be written to");
    }
    python
}

/// What a command prints.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; see scripts/setup"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    String::from_utf8(output.stdout).expect("it prints text")
}

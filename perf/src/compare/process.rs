//! Programs that run beside this one, and their end.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::error::CompareError;
use super::systems::System;

/// Longest from being asked to stop to being killed.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Runs a command to its end and returns what it printed.
///
/// # Errors
///
/// It is not there, or ended with an error.
pub(super) fn output_of(argv: &[&str]) -> Result<String, CompareError> {
    let (program, arguments) = argv.split_first().unwrap_or((&"", &[]));
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| CompareError::Start(argv.join(" "), error))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(text);
    }
    Err(CompareError::Command {
        command: argv.join(" "),
        output: text.trim().to_owned(),
    })
}

/// A program that runs until it is stopped; dropping it stops it.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    system: System,
    log: PathBuf,
}

impl Running {
    /// Starts a program whose output goes to a file.
    pub(super) fn start(
        system: System,
        argv: &[&str],
        log: PathBuf,
    ) -> Result<Running, CompareError> {
        let file = |error| CompareError::File(log.clone(), error);
        let out = File::create(&log).map_err(file)?;
        let err = out.try_clone().map_err(file)?;
        let child = command(argv)
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|error| CompareError::Start(argv.join(" "), error))?;
        Ok(Running { child, system, log })
    }

    /// The process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails where it has ended.
    pub(super) fn check(&mut self) -> Result<(), CompareError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(&format!("ended: {status}"))),
            Err(error) => Err(self.failed(&format!("is lost: {error}"))),
        }
    }

    /// An error with the end of what it printed.
    pub(super) fn failed(&self, what: &str) -> CompareError {
        CompareError::System {
            system: self.system,
            what: what.to_owned(),
            log: tail(&self.log),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A command that gets no input and dies with this process, however that ends.
pub(super) fn command(argv: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args(argv)
        .stdin(Stdio::null());
    command
}

/// Asks a process to stop, and kills it where it does not in time.
pub(super) fn stop(child: &mut Child) {
    if let Ok(Some(_)) = child.try_wait() {
        return;
    }
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    if wait(child, STOP_WITHIN, || false).is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Waits for a process's end, at most so long and until told to give up.
///
/// # Errors
///
/// `TimedOut` or `Interrupted`; the process still runs then.
pub(super) fn wait(
    child: &mut Child,
    within: Duration,
    mut given_up: impl FnMut() -> bool,
) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if given_up() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

//! What the gateway tells its operator: short lines on stderr, without a time, which journald and
//! container runtimes add. Never from a worker's loop.

use std::fmt::Display;
use std::io::{Write, stderr};

/// Something that happened as it should.
pub(crate) fn info(what: impl Display) {
    line("", &what);
}

/// Something to look at; the gateway goes on.
pub(crate) fn warning(what: impl Display) {
    line("warning: ", &what);
}

/// Why the gateway does not start or goes no further.
pub(crate) fn error(what: impl Display) {
    line("error: ", &what);
}

/// One write, so that lines of several threads do not mix. A reader of stderr that went away is no
/// reason to stop (`eprintln!` would panic).
fn line(level: &str, what: &dyn Display) {
    let _ = stderr().write_all(format!("sluice: {level}{what}\n").as_bytes());
}

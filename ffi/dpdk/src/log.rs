//! DPDK's log: its last lines are kept for error messages, and shown on stderr when asked for.

use std::collections::VecDeque;
use std::ffi::{c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dpdk_sys as ffi;

/// Lines kept, and bytes kept of a line.
const LINES_MAX: usize = 32;
const LINE_MAX: usize = 400;

/// One log per process, as in DPDK itself.
static LOG: Mutex<Log> = Mutex::new(Log {
    lines: VecDeque::new(),
    partial: String::new(),
    written: 0,
    verbose: false,
});

struct Log {
    lines: VecDeque<String>,
    partial: String,
    /// Lines written since the start of the process.
    written: u64,
    verbose: bool,
}

/// The last lines (at most 32) that DPDK logged, oldest first. Quiet or not, warnings and worse are in it.
pub fn log_tail() -> Vec<String> {
    lock().lines.iter().cloned().collect()
}

/// The position in the log; what comes later is had from [`since`].
pub(crate) fn mark() -> u64 {
    lock().written
}

/// What was logged since `mark`, ready to be appended to an error message: nothing, or `\nDPDK said: ...`.
pub(crate) fn since(mark: u64) -> String {
    let log = lock();
    let new = usize::try_from(log.written.saturating_sub(mark)).unwrap_or(usize::MAX);
    let skip = log.lines.len().saturating_sub(new);
    log.lines
        .iter()
        .skip(skip)
        .map(|line| format!("\nDPDK said: {line}"))
        .collect()
}

/// Sends DPDK's log here from now on.
pub(crate) fn capture(verbose: bool) {
    lock().verbose = verbose;
    let functions = ffi::cookie_io_functions_t {
        write: Some(write),
        ..Default::default()
    };
    // SAFETY: the mode is a C string and the callback stays valid for the life of the process; the
    // stream is never closed.
    let stream = unsafe { ffi::fopencookie(std::ptr::null_mut(), c"w".as_ptr(), functions) };
    if stream.is_null() {
        return; // out of memory: the log goes where DPDK sends it by default
    }
    // SAFETY: `stream` was opened above and nothing was written to it. Unbuffered, so that a line is
    // here when the call that logged it returns.
    unsafe { libc::setvbuf(stream.cast(), std::ptr::null_mut(), libc::_IONBF, 0) };
    // SAFETY: `stream` stays open.
    unsafe { ffi::rte_openlog_stream(stream) };
}

/// Keeps libxdp and libbpf, which `net_af_xdp` works with, from writing what they try to stderr. To be
/// called when EAL has loaded its drivers' plugins, and those these libraries.
pub(crate) fn quieten_bpf() {
    for (library, function) in [
        (c"libxdp.so.1", c"libxdp_set_print"),
        (c"libbpf.so.1", c"libbpf_set_print"),
        (c"libbpf.so.0", c"libbpf_set_print"),
    ] {
        // SAFETY: the name is a C string, and nothing is loaded by this: a library that is not there
        // already gives null.
        let library =
            unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        if library.is_null() {
            continue;
        }
        // SAFETY: the handle is valid and never closed, and the name is a C string.
        let function = unsafe { libc::dlsym(library, function.as_ptr()) };
        if function.is_null() {
            continue;
        }
        type SetPrint = unsafe extern "C" fn(*const c_void) -> *const c_void;
        // SAFETY: since their first releases both take a pointer to a printing function, of which null
        // means silence, and return the one before. A pointer is passed and returned alike whatever
        // it points to.
        unsafe { std::mem::transmute::<*mut c_void, SetPrint>(function)(std::ptr::null()) };
    }
}

/// The `write` of the stream: any thread that logs may call it.
unsafe extern "C" fn write(
    _cookie: *mut c_void,
    data: *const c_char,
    len: usize,
) -> ffi::__ssize_t {
    // SAFETY: stdio hands over `len` readable bytes for the duration of the call.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) };
    lock().append(&String::from_utf8_lossy(bytes));
    ffi::__ssize_t::try_from(len).unwrap_or(ffi::__ssize_t::MAX)
}

/// The log stays usable if a thread died while it held it.
fn lock() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    fn append(&mut self, text: &str) {
        for c in text.chars() {
            if c == '\n' {
                self.end_line();
            } else if self.partial.len() < LINE_MAX {
                self.partial.push(c);
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.partial);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        if self.verbose {
            eprintln!("dpdk: {line}");
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
        self.written += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Log {
        Log {
            lines: VecDeque::new(),
            partial: String::new(),
            written: 0,
            verbose: false,
        }
    }

    #[test]
    fn lines_are_joined_from_pieces_and_bounded() {
        let mut log = empty();
        log.append("EAL: can");
        log.append("not\nsecond\n\n");
        assert_eq!(log.lines, ["EAL: cannot", "second"]);
        log.append(&"x".repeat(10 * LINE_MAX));
        log.append("\n");
        assert_eq!(log.lines[2].len(), LINE_MAX);
        for _ in 0..100 {
            log.append("more\n");
        }
        assert_eq!((log.lines.len(), log.written), (LINES_MAX, 103));
    }
}

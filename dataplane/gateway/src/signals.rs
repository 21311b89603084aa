//! Signals become events of the control thread.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::{io, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::control::Event;

/// From now on SIGTERM and SIGINT are asked-for stops, and SIGHUP a look at the rules. A second
/// SIGTERM or SIGINT ends the process in the handler itself, so that no stuck thread is in its way.
pub(crate) fn watch(events: SyncSender<Event>) -> io::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag down and puts it up.
        flag::register_conditional_shutdown(signal, 1, stopping.clone())?;
        flag::register(signal, stopping.clone())?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let forward = move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => Event::Reload,
                SIGINT => Event::Stop("SIGINT"),
                _ => Event::Stop("SIGTERM"),
            };
            if events.send(event).is_err() {
                return; // the control thread is past listening
            }
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(forward)
        .map(drop)
}

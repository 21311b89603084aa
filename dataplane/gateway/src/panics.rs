//! What becomes of the message of a panic. A worker goes on behind one, so a client that found a way to
//! bring it about could fill a log with it.

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::log;

/// Messages that are all shown, and of which of those behind them one is.
const ALL: u64 = 20;
const ONE_OF: u64 = 1_000;

/// Has messages of panics go to the log, the first ones and then some.
pub(crate) fn install() {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    panic::set_hook(Box::new(|what| {
        let number = PANICS.fetch_add(1, Ordering::Relaxed) + 1;
        if is_shown(number) {
            log::error(format_args!(
                "defect {number} of sluice, please report it: {what}"
            ));
        }
    }));
}

fn is_shown(number: u64) -> bool {
    number <= ALL || number.is_multiple_of(ONE_OF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_shown_and_then_some() {
        let shown = (1..=3_000).filter(|&number| is_shown(number)).count();
        assert_eq!(shown, 20 + 3);
    }
}

//! What the scheduler says of the generator's thread: whether it had its core.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The scheduler's account of one thread; nothing where the kernel keeps none (CONFIG_SCHED_INFO).
pub(super) struct CoreTime(Option<File>);

impl CoreTime {
    /// Of the calling thread.
    pub(super) fn of_this_thread() -> CoreTime {
        CoreTime(File::open("/proc/thread-self/schedstat").ok())
    }

    /// How long it has been ready to run and was not, since it began: one system call.
    pub(super) fn waited(&self) -> Duration {
        let mut text = [0; 96];
        let read = self
            .0
            .as_ref()
            .and_then(|file| file.read_at(&mut text, 0).ok());
        read.and_then(|length| waited(text.get(..length)?))
            .unwrap_or_default()
    }
}

/// The second number of a schedstat: nanoseconds on a run queue (kernel, Documentation/scheduler/sched-stats).
fn waited(text: &[u8]) -> Option<Duration> {
    let text = str::from_utf8(text).ok()?;
    let nanos = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_without_a_core_is_the_second_number() {
        assert_eq!(waited(b"0 139372 1\n"), Some(Duration::from_nanos(139_372)));
        assert_eq!(waited(b"7\n"), None);
        assert_eq!(CoreTime(None).waited(), Duration::ZERO);
    }

    #[test]
    fn a_thread_beside_others_on_one_core_waits_for_it() {
        let core = sluice_port::cores::choose(
            sluice_port::cores::Ask::Count(1),
            sluice_port::cores::End::First,
        )
        .unwrap()
        .first();
        let until = std::time::Instant::now() + Duration::from_secs(20);
        let spin = move || {
            assert!(sluice_port::cores::pin(core));
            let own = CoreTime::of_this_thread();
            // Either of the two: the other one may be over before.
            while own.waited().is_zero() && std::time::Instant::now() < until {
                std::hint::spin_loop();
            }
            own.waited()
        };
        let other = std::thread::spawn(spin);
        let waited = std::thread::spawn(spin).join().unwrap() + other.join().unwrap();
        assert!(waited > Duration::ZERO);
    }
}

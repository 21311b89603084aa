//! Which processor core does what: a core for the thread that polls, the others for all else.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of a process's threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// That of the thread that polls.
    pub worker: usize,
    /// Those of all other threads: every core but the worker's, unless there is no other.
    pub control: Vec<usize>,
}

/// The core asked for cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// Not there, or not allowed.
    #[error(
        "core {core} is not there for this process, which may run on {}. \
         Choose one of these, or allow more (taskset, cpuset)", list(.allowed)
    )]
    NotAllowed {
        /// Asked for.
        core: u16,
        /// Those the process may run on.
        allowed: Vec<usize>,
    },
    /// The system does not tell.
    #[error("the system does not tell which cores this process may run on (sched_getaffinity)")]
    Unknown,
}

/// Which of the allowed cores is taken where none is asked for. A gateway and a load generator on one
/// machine begin at opposite ends, so that they are not in each other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The first.
    First,
    /// The last, which the system's own work is on least.
    Last,
}

/// Chooses among the cores that this process may run on: the thread that polls gets the one asked for, or the
/// last. To be called before anything binds the calling thread.
pub fn choose(asked: Option<u16>, otherwise: End) -> Result<Cores, CoreError> {
    let set = sched_getaffinity(None).map_err(|_| CoreError::Unknown)?;
    let allowed = (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect();
    choose_among(allowed, asked, otherwise)
}

/// Binds the calling thread to a core of its own; false when the system refuses.
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

/// Binds the calling thread, and the threads that it starts from now on, to these cores: a set, which
/// `core_affinity` has no call for.
pub fn bind(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    // `choose` gave numbers that are in range.
    cores.iter().for_each(|core| set.set(*core));
    Ok(sched_setaffinity(None, &set)?)
}

fn choose_among(
    allowed: Vec<usize>,
    asked: Option<u16>,
    otherwise: End,
) -> Result<Cores, CoreError> {
    let cores = allowed.iter().copied();
    let end = match otherwise {
        End::First => cores.min(),
        End::Last => cores.max(),
    };
    let worker = asked.map_or(end.ok_or(CoreError::Unknown)?, usize::from);
    match asked {
        Some(core) if !allowed.contains(&worker) => Err(CoreError::NotAllowed { core, allowed }),
        _ => {
            let others: Vec<usize> = allowed
                .iter()
                .copied()
                .filter(|core| *core != worker)
                .collect();
            Ok(Cores {
                worker,
                control: if others.is_empty() { allowed } else { others },
            })
        }
    }
}

fn list(cores: &[usize]) -> String {
    cores
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(worker: usize, control: &[usize]) -> Result<Cores, CoreError> {
        Ok(Cores {
            worker,
            control: control.to_vec(),
        })
    }

    #[test]
    fn the_worker_has_its_core_to_itself() {
        assert_eq!(choose_among(vec![0, 1], None, End::Last), cores(1, &[0]));
        assert_eq!(
            choose_among(vec![0, 1, 2, 3], Some(2), End::Last),
            cores(2, &[0, 1, 3])
        );
        assert_eq!(choose_among(vec![4, 6], Some(4), End::Last), cores(4, &[6]));
    }

    #[test]
    fn a_single_core_is_shared() {
        assert_eq!(choose_among(vec![3], None, End::Last), cores(3, &[3]));
    }

    #[test]
    fn a_core_that_is_not_there_is_refused_with_those_that_are() {
        let error = choose_among(vec![0, 1], Some(9), End::Last)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("core 9") && error.contains("0, 1"),
            "{error}"
        );
    }
}

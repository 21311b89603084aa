//! Which processor core does what: a core for each thread that polls, the others for all else.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of a process's threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// Those of the threads that poll, one for each; a core can be there more than once.
    pub workers: Vec<usize>,
    /// Those of all other threads: every core but the workers', unless there is no other.
    pub control: Vec<usize>,
}

impl Cores {
    /// The core of the only thread that polls, or of the first.
    pub fn first(&self) -> usize {
        self.workers.first().copied().unwrap_or(0)
    }

    /// Whether a worker's core also has other workers, or everything else, on it.
    pub fn is_shared(&self, core: usize) -> bool {
        let workers = self.workers.iter().filter(|other| **other == core);
        workers.count() > 1 || self.control.contains(&core)
    }
}

/// Which cores the threads that poll are to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// So many, of any.
    Count(u16),
    /// These, one thread for each.
    These(&'a [u16]),
}

impl<'a> Ask<'a> {
    /// One thread, on this core if one is named.
    pub fn of(core: Option<&'a u16>) -> Self {
        core.map_or(Ask::Count(1), |core| Ask::These(std::slice::from_ref(core)))
    }
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
    /// More threads than cores.
    #[error(
        "{asked} workers were asked for, but this process may run on {} only. Ask for {} at most; to have \
         several workers on one core, as tests do, list it as often in workers.cores",
        list(.allowed), .allowed.len()
    )]
    TooMany {
        /// Asked for.
        asked: u16,
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

/// Chooses among the cores that this process may run on: the threads that poll get those asked for, or as
/// many of one end. To be called before anything binds the calling thread.
pub fn choose(ask: Ask<'_>, otherwise: End) -> Result<Cores, CoreError> {
    let set = sched_getaffinity(None).map_err(|_| CoreError::Unknown)?;
    let allowed = (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect();
    choose_among(allowed, ask, otherwise)
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

fn choose_among(allowed: Vec<usize>, ask: Ask<'_>, otherwise: End) -> Result<Cores, CoreError> {
    let workers: Vec<usize> = match ask {
        Ask::These(cores) => cores.iter().copied().map(usize::from).collect(),
        Ask::Count(asked) if usize::from(asked) > allowed.len() => {
            return Err(CoreError::TooMany { asked, allowed });
        }
        Ask::Count(asked) => {
            let spare = match otherwise {
                End::First => 0,
                End::Last => allowed.len() - usize::from(asked),
            };
            let cores = allowed.iter().copied().skip(spare);
            cores.take(usize::from(asked)).collect()
        }
    };
    if workers.is_empty() {
        return Err(CoreError::Unknown);
    }
    if let Some(core) = workers.iter().find(|core| !allowed.contains(core)) {
        let core = u16::try_from(*core).unwrap_or(u16::MAX);
        return Err(CoreError::NotAllowed { core, allowed });
    }
    let others: Vec<usize> = allowed
        .iter()
        .copied()
        .filter(|core| !workers.contains(core))
        .collect();
    Ok(Cores {
        workers,
        control: if others.is_empty() { allowed } else { others },
    })
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

    fn cores(workers: &[usize], control: &[usize]) -> Result<Cores, CoreError> {
        Ok(Cores {
            workers: workers.to_vec(),
            control: control.to_vec(),
        })
    }

    #[test]
    fn workers_have_their_cores_to_themselves() {
        let last = |allowed: &[usize], ask| choose_among(allowed.to_vec(), ask, End::Last);
        assert_eq!(last(&[0, 1], Ask::Count(1)), cores(&[1], &[0]));
        assert_eq!(
            last(&[0, 1, 2, 3], Ask::These(&[2])),
            cores(&[2], &[0, 1, 3])
        );
        assert_eq!(last(&[4, 6], Ask::These(&[4])), cores(&[4], &[6]));
        assert_eq!(last(&[1, 3, 5, 7], Ask::Count(3)), cores(&[3, 5, 7], &[1]));
        let first = choose_among(vec![1, 3, 5, 7], Ask::Count(2), End::First);
        assert_eq!(first, cores(&[1, 3], &[5, 7]));
    }

    #[test]
    fn cores_are_shared_where_there_are_no_others_and_where_that_is_asked_for() {
        let chosen = choose_among(vec![3], Ask::Count(1), End::Last).unwrap();
        assert_eq!(chosen, cores(&[3], &[3]).unwrap());
        assert!(chosen.is_shared(3));
        let chosen = choose_among(vec![0, 1], Ask::These(&[1, 1]), End::Last).unwrap();
        assert_eq!(chosen, cores(&[1, 1], &[0]).unwrap());
        assert!(chosen.is_shared(1));
        let chosen = choose_among(vec![0, 1], Ask::Count(1), End::Last).unwrap();
        assert!(!chosen.is_shared(1));
    }

    #[test]
    fn a_core_that_is_not_there_is_refused_with_those_that_are() {
        let refused = |ask| {
            choose_among(vec![0, 1], ask, End::Last)
                .unwrap_err()
                .to_string()
        };
        let error = refused(Ask::These(&[1, 9]));
        assert!(
            error.contains("core 9") && error.contains("0, 1"),
            "{error}"
        );
        let error = refused(Ask::Count(3));
        assert!(
            error.contains("3 workers")
                && error.contains("0, 1 only")
                && error.contains("2 at most"),
            "{error}"
        );
    }
}

//! Which processor core does what: a core for each thread that polls, the others for all else.

mod numa;

use std::io;
use std::path::Path;

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

    /// All that is not a worker on the workers' cores too: for a process that does nothing else while they
    /// count, beside one that wants the other cores for itself.
    #[must_use]
    pub fn together(self) -> Cores {
        let mut control = self.workers.clone();
        control.sort_unstable();
        control.dedup();
        Cores { control, ..self }
    }

    /// The NUMA node of each worker's core, where the system tells.
    pub fn nodes(&self) -> Vec<Option<u16>> {
        let of = |core: &usize| numa::node_of(Path::new(numa::NODES), *core);
        self.workers.iter().map(of).collect()
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
    /// So many, of a NUMA node.
    OfNode {
        /// Threads.
        count: u16,
        /// The node.
        node: u16,
    },
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
    /// No such node.
    #[error(
        "there is no NUMA node {node}; those of this machine are: {}. `lscpu` shows their cores",
        if .there.is_empty() { "none".to_owned() } else { list(.there) }
    )]
    NoNode {
        /// Asked for.
        node: u16,
        /// Those of the machine.
        there: Vec<usize>,
    },
    /// More threads than the node has cores for.
    #[error(
        "{asked} workers were asked for on NUMA node {node}, of whose cores this process may run on {}. Ask \
         for fewer, or allow more (taskset, cpuset)",
        if .cores.is_empty() { "none".to_owned() } else { list(.cores) }
    )]
    NodeCores {
        /// Asked for.
        asked: u16,
        /// The node.
        node: u16,
        /// Those of its cores that the process may run on.
        cores: Vec<usize>,
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
    choose_among(allowed, ask, otherwise, Path::new(numa::NODES))
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
    ask: Ask<'_>,
    otherwise: End,
    nodes: &Path,
) -> Result<Cores, CoreError> {
    let of_end = |cores: &[usize], count: u16| -> Vec<usize> {
        let spare = match otherwise {
            End::First => 0,
            End::Last => cores.len().saturating_sub(count.into()),
        };
        let cores = cores.iter().copied().skip(spare);
        cores.take(count.into()).collect()
    };
    let workers: Vec<usize> = match ask {
        Ask::These(cores) => cores.iter().copied().map(usize::from).collect(),
        Ask::Count(asked) if usize::from(asked) > allowed.len() => {
            return Err(CoreError::TooMany { asked, allowed });
        }
        Ask::Count(asked) => of_end(&allowed, asked),
        Ask::OfNode { count, node } => {
            let mut cores = numa::cores(nodes, node)?;
            cores.retain(|core| allowed.contains(core));
            if usize::from(count) > cores.len() {
                let asked = count;
                return Err(CoreError::NodeCores { asked, node, cores });
            }
            of_end(&cores, count)
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

    fn choose_here(allowed: &[usize], ask: Ask<'_>, end: End) -> Result<Cores, CoreError> {
        choose_among(allowed.to_vec(), ask, end, Path::new("/nonexistent"))
    }

    fn cores(workers: &[usize], control: &[usize]) -> Result<Cores, CoreError> {
        Ok(Cores {
            workers: workers.to_vec(),
            control: control.to_vec(),
        })
    }

    #[test]
    fn workers_have_their_cores_to_themselves() {
        let last = |allowed: &[usize], ask| choose_here(allowed, ask, End::Last);
        assert_eq!(last(&[0, 1], Ask::Count(1)), cores(&[1], &[0]));
        assert_eq!(
            last(&[0, 1, 2, 3], Ask::These(&[2])),
            cores(&[2], &[0, 1, 3])
        );
        assert_eq!(last(&[4, 6], Ask::These(&[4])), cores(&[4], &[6]));
        assert_eq!(last(&[1, 3, 5, 7], Ask::Count(3)), cores(&[3, 5, 7], &[1]));
        let first = choose_here(&[1, 3, 5, 7], Ask::Count(2), End::First);
        assert_eq!(first, cores(&[1, 3], &[5, 7]));
    }

    #[test]
    fn cores_are_shared_where_there_are_no_others_and_where_that_is_asked_for() {
        let chosen = choose_here(&[3], Ask::Count(1), End::Last).unwrap();
        assert_eq!(chosen, cores(&[3], &[3]).unwrap());
        assert!(chosen.is_shared(3));
        let chosen = choose_here(&[0, 1], Ask::These(&[1, 1]), End::Last).unwrap();
        assert_eq!(chosen, cores(&[1, 1], &[0]).unwrap());
        assert!(chosen.is_shared(1));
        let chosen = choose_here(&[0, 1], Ask::Count(1), End::Last).unwrap();
        assert!(!chosen.is_shared(1));
    }

    #[test]
    fn all_else_can_be_on_the_workers_cores() {
        let chosen = choose_here(&[0, 1, 2], Ask::These(&[1, 0, 1]), End::First).unwrap();
        assert_eq!(chosen.together(), cores(&[1, 0, 1], &[0, 1]).unwrap());
    }

    #[test]
    fn a_core_that_is_not_there_is_refused_with_those_that_are() {
        let refused = |ask| {
            choose_here(&[0, 1], ask, End::Last)
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

    #[test]
    fn workers_on_a_numa_node_have_cores_of_it_and_nothing_else() {
        let nodes = numa::tests::machine(&[(0, "0-3,8-11"), (1, "4-7,12-15"), (2, "")]);
        let allowed: Vec<usize> = (0..14).collect();
        let on = |count, node| {
            let ask = Ask::OfNode { count, node };
            choose_among(allowed.clone(), ask, End::Last, nodes.path())
        };
        assert_eq!(on(3, 0).unwrap().workers, [9, 10, 11]);
        let second = on(2, 1).unwrap();
        assert_eq!(second.workers, [12, 13]);
        assert_eq!(second.control, (0..12).collect::<Vec<_>>());
        let said = |count, node| on(count, node).unwrap_err().to_string();
        let error = said(7, 1);
        assert!(
            error.contains("7 workers")
                && error.contains("NUMA node 1")
                && error.contains("4, 5, 6, 7, 12, 13."),
            "{error}"
        );
        // A node of memory alone.
        assert!(said(1, 2).contains("may run on none."), "{}", said(1, 2));
        assert!(
            said(1, 3).contains("no NUMA node 3; those of this machine are: 0, 1, 2."),
            "{}",
            said(1, 3)
        );
    }
}

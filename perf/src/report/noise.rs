//! What else used the processor while something was measured.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Clock ticks per second in /proc: fixed for user space on every architecture that DPDK runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What else went on, on the cores that were measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Noise {
    /// The cores that were watched.
    pub cores: Vec<u32>,
    /// The greatest share of a watched core's time that the hypervisor gave to others.
    pub steal: f64,
    /// Processor time of processes that do not belong to the measurement, by the time of one core:
    /// those last seen on a watched core, or begun and ended meanwhile. Kernel threads are left out.
    pub foreign: f64,
}

/// A look at the machine that a later look is compared with.
#[derive(Debug)]
pub struct Watch {
    cores: Vec<u32>,
    began: Instant,
    steal: Vec<u64>,
    processes: HashMap<u32, Process>,
}

/// Ticks of a process so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    parent: u32,
    own: u64,
    /// Of children that ended and were waited for.
    children: u64,
    last_core: u32,
}

impl Watch {
    /// Begins now. `cores` are those that the measurement uses.
    pub fn start(cores: &[u32]) -> Watch {
        Watch {
            cores: cores.to_vec(),
            began: Instant::now(),
            steal: steal(&read("/proc/stat"), cores),
            processes: processes(),
        }
    }

    /// What went on since the start. The processes `ours`, their descendants and this process belong
    /// to the measurement.
    pub fn noise(&self, ours: &[u32]) -> Noise {
        let elapsed = self.began.elapsed().max(Duration::from_millis(1));
        let ticks = elapsed.as_secs_f64() * TICKS_PER_SECOND;
        let stolen = steal(&read("/proc/stat"), &self.cores);
        let most = stolen
            .iter()
            .zip(&self.steal)
            .map(|(now, then)| now.saturating_sub(*then))
            .max()
            .unwrap_or_default();
        let mut ours = ours.to_vec();
        ours.push(std::process::id());
        let foreign = foreign(&self.processes, &processes(), &ours, &self.cores);
        Noise {
            cores: self.cores.clone(),
            steal: (most as f64 / ticks).min(1.0),
            // More time than there is can only come from processes that nobody waited for.
            foreign: (foreign as f64 / ticks).min(self.cores.len() as f64),
        }
    }
}

/// The kernel's threads are the children of this process.
const KTHREADD: u32 = 2;

/// Ticks that processes outside the measurement used between two looks.
fn foreign(
    then: &HashMap<u32, Process>,
    now: &HashMap<u32, Process>,
    ours: &[u32],
    cores: &[u32],
) -> u64 {
    let seen = seen_before(then, now);
    let mut ticks = 0;
    for (id, process) in now {
        if belongs(*id, now, ours) || !cores.contains(&process.last_core) {
            continue;
        }
        let before = then.get(id);
        let own = process
            .own
            .saturating_sub(before.map_or(0, |before| before.own));
        let children = process
            .children
            .saturating_sub(before.map_or(0, |before| before.children))
            .saturating_sub(seen.get(id).copied().unwrap_or_default());
        ticks += own + children;
    }
    ticks
}

/// A process that ended brings its whole life, and that of its ended children, to whoever waited for it:
/// what of that was there at the first look already, by the nearest ancestor that still is.
fn seen_before(then: &HashMap<u32, Process>, now: &HashMap<u32, Process>) -> HashMap<u32, u64> {
    let mut seen = HashMap::new();
    for process in then.iter().filter(|(id, _)| !now.contains_key(id)) {
        let mut heir = process.1.parent;
        for _ in 0..DEEPEST {
            match then.get(&heir) {
                Some(gone) if !now.contains_key(&heir) => heir = gone.parent,
                _ => break,
            }
        }
        *seen.entry(heir).or_default() += process.1.own + process.1.children;
    }
    seen
}

/// Process trees are not deep; the bound guards against a parent that was replaced meanwhile.
const DEEPEST: u32 = 64;

/// Whether a process is the kernel's, one of ours, or descends from one of ours.
fn belongs(id: u32, all: &HashMap<u32, Process>, ours: &[u32]) -> bool {
    let mut at = id;
    for _ in 0..DEEPEST {
        if at == KTHREADD || ours.contains(&at) {
            return true;
        }
        match all.get(&at) {
            Some(process) if process.parent != 0 => at = process.parent,
            _ => return false,
        }
    }
    false
}

fn processes() -> HashMap<u32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    entries
        .filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            Some((id, process(&stat)?))
        })
        .collect()
}

/// Of a line of /proc/PID/stat (proc_pid_stat(5)).
fn process(stat: &str) -> Option<Process> {
    // The name in parentheses may hold anything; the numbers come after the last of them.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Field N of the manual is at N - 3 here.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        parent: number(4)? as u32,
        own: number(14)? + number(15)?,
        children: number(16)? + number(17)?,
        last_core: number(39)? as u32,
    })
}

/// Ticks stolen from each of the cores, of /proc/stat.
fn steal(stat: &str, cores: &[u32]) -> Vec<u64> {
    cores
        .iter()
        .map(|core| {
            let name = format!("cpu{core} ");
            let line = stat.lines().find(|line| line.starts_with(&name));
            // user nice system idle iowait irq softirq steal
            line.and_then(|line| line.split_whitespace().nth(8)?.parse().ok())
                .unwrap_or_default()
        })
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const STAT: &str = "77 (a (b) c) S 42 77 77 0 -1 4194560 18 11 0 7 100 20 3000 400 10 -10 11 0 14 \
                        414 328 184 1 1 0 0 0 0 0 40 12 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let wanted = Process {
            parent: 42,
            own: 120,
            children: 3_400,
            last_core: 1,
        };
        assert_eq!(process(STAT), Some(wanted));
        assert_eq!(process("77 (cut off"), None);
    }

    #[test]
    fn steal_is_that_of_the_cores_asked_for() {
        let stat =
            "cpu  9 9 9 9 9 9 9 99 0 0\ncpu0 1 2 3 4 5 6 7 80 0 0\ncpu1 1 2 3 4 5 6 7 9 0 0\n";
        assert_eq!(steal(stat, &[1, 0, 7]), [9, 80, 0]);
    }

    fn at(parent: u32, own: u64, children: u64, last_core: u32) -> Process {
        Process {
            parent,
            own,
            children,
            last_core,
        }
    }

    #[test]
    fn foreign_is_what_others_did_on_our_cores() {
        let then = HashMap::from([
            (1, at(0, 10, 0, 0)),
            (2, at(0, 5, 0, 0)),
            (3, at(2, 5, 0, 0)),       // a kernel thread
            (10, at(1, 100, 50, 0)),   // a shell
            (11, at(10, 300, 100, 1)), // its builder, which ends
            (12, at(11, 100, 0, 1)),   // and that one's compiler, which ends before
            (20, at(1, 1_000, 0, 1)),  // ours
            (30, at(1, 1_000, 0, 17)), // on another core
        ]);
        let now = HashMap::from([
            (1, at(0, 11, 0, 0)),
            (2, at(0, 5, 0, 0)),
            (3, at(2, 95, 0, 0)),
            (10, at(1, 102, 50 + 500 + 30, 0)), // the last 30 of the two among them
            (20, at(1, 1_900, 0, 1)),
            (21, at(20, 700, 0, 1)), // ours by descent
            (30, at(1, 1_900, 0, 17)),
            (40, at(1, 7, 0, 1)), // begun meanwhile
        ]);
        assert_eq!(foreign(&then, &now, &[20], &[0, 1]), 1 + 2 + 30 + 7);
    }

    /// A busy loop that is nobody's child any more, ended when this is dropped.
    struct Stranger(String);

    impl Stranger {
        fn start() -> Stranger {
            let script = "timeout 60 sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $!";
            let output = Command::new("sh").args(["-c", script]).output().unwrap();
            Stranger(String::from_utf8(output.stdout).unwrap().trim().to_owned())
        }
    }

    impl Drop for Stranger {
        fn drop(&mut self) {
            let _ = Command::new("kill").arg(&self.0).status();
        }
    }

    #[test]
    fn a_busy_stranger_is_seen() {
        let cores: Vec<u32> = (0..1_024).collect();
        let watch = Watch::start(&cores);
        let _stranger = Stranger::start();
        let deadline = Instant::now() + Duration::from_secs(30);
        while watch.noise(&[]).foreign <= 0.0 {
            assert!(Instant::now() < deadline, "a busy process was not seen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

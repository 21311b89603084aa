//! How much more several workers serve than one: a thread for each, on a core of its own, with a gateway's worker,
//! its clients and its backends in it, over links in memory. All work by the same compiled rules.
//!
//! `cargo bench -p sluice-perf --bench scaling` measures 1 to 16 workers in turns, or as many as the machine has cores
//! that it may use, `-- --workers N` up to N. It prints a table: requests per second of all workers, the median of
//! `--rounds` (and the least and greatest), and how many times those of one that is. `--millis` is the time of each
//! measurement.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant as Clock};

use sluice_perf::client::{End, Outcome, Request, Workload};
use sluice_perf::memory::{Memory, Setup, compiled, rules};
use sluice_policy::Snapshot;
use sluice_port::cores;
use sluice_stack::time::Instant;
use sluice_wire::http1::RequestKind;

/// Workers at most, unless it is said.
const MOST: usize = 16;

/// The same small GET on every connection, for as long as it is let.
struct Same {
    request: Request,
    until: Clock,
    stopped: bool,
    answered: u64,
    wrong: u64,
}

impl Workload for Same {
    fn next(&mut self, _slot: usize, _now: Instant) -> Option<&Request> {
        (!self.stopped).then_some(&self.request)
    }

    fn ended(&mut self, _slot: usize, outcome: Outcome) {
        match outcome.end {
            End::Answered {
                status: 200,
                length: 100,
                ..
            } => self.answered += 1,
            _ => self.wrong += 1,
        }
        // Rarely, so that the clock costs nothing.
        if self.answered.is_multiple_of(256) {
            self.stopped = Clock::now() >= self.until;
        }
    }
}

/// Requests per second of one worker, from the moment at which all begin.
fn serve(snapshot: &Arc<Snapshot>, core: usize, time: Duration, together: &Barrier) -> f64 {
    cores::pin(core);
    let setup = Setup {
        seed: 1 + core as u64,
        ..Setup::default()
    };
    let memory = Memory::with_snapshot(&setup, snapshot);
    let mut memory = memory.unwrap_or_else(|problems| panic!("{problems}"));
    let mut work = Same {
        request: Request {
            id: 0,
            bytes: b"GET / HTTP/1.1\r\nHost: sluice.test\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n"
                .to_vec(),
            kind: RequestKind::Other,
            half_close: false,
            abandon_after: None,
        },
        until: Clock::now(),
        stopped: false,
        answered: 0,
        wrong: 0,
    };
    together.wait();
    let began = Clock::now();
    work.until = began + time;
    memory.client.kick(&mut work, memory.net.now());
    while !work.stopped {
        memory.turn(&mut work, |worker, now| {
            worker.poll_once(now);
        });
        memory.advance(Duration::from_micros(200));
    }
    assert_eq!(work.wrong, 0, "{:?}", memory.stats);
    work.answered as f64 / began.elapsed().as_secs_f64()
}

fn all(snapshot: &Arc<Snapshot>, workers: &[usize], time: Duration) -> f64 {
    let together = Barrier::new(workers.len());
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter()
            .map(|&core| {
                let together = &together;
                scope.spawn(move || serve(snapshot, core, time, together))
            })
            .collect();
        let served = threads.into_iter().map(|thread| thread.join());
        served.map(|served| served.unwrap_or(0.0)).sum()
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    // `cargo test` passes --test; a bench is not a test, so there it only shows that it runs.
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let time = number("--millis").unwrap_or(if is_bench { 2_000 } else { 10 });
    let rounds = number("--rounds")
        .unwrap_or(if is_bench { 5 } else { 1 })
        .max(1);
    let most = number("--workers").unwrap_or_else(|| {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        cores.min(MOST) as u64
    });
    let most = u16::try_from(most).unwrap_or(u16::MAX);
    let chosen = cores::choose(cores::Ask::Count(most), cores::End::First);
    let Ok(chosen) = chosen.inspect_err(|error| println!("scaling: {error}")) else {
        return;
    };
    let snapshot = compiled(&rules(&Setup::default()), 1);
    let snapshot = snapshot.unwrap_or_else(|problems| panic!("{problems}"));
    let mut served = vec![Vec::new(); chosen.workers.len()];
    for _ in 0..rounds {
        for (n, served) in (1..).zip(&mut served) {
            let cores = &chosen.workers[..n];
            served.push(all(&snapshot, cores, Duration::from_millis(time)));
        }
    }
    println!("| workers | requests/s | least to greatest | times one worker |\n|---|---|---|---|");
    let mut one = None;
    for (workers, served) in (1..).zip(&mut served) {
        served.sort_by(f64::total_cmp);
        let median = served[served.len() / 2];
        let times = median / *one.get_or_insert(median);
        let (least, greatest) = (served[0], served[served.len() - 1]);
        println!("| {workers} | {median:.0} | {least:.0} to {greatest:.0} | {times:.2} |");
    }
}

//! What a proxied request costs when there are many connections: the gateway's polls alone, in
//! memory, as in `proxied_request`.
//!
//! `cargo bench -p sluice-perf --bench scale` prints a row for each number of connections up to a million, as
//! far as memory goes: a row that would take more than there is, by what the one before took, is left out and
//! says so. In each row the three cases take turns, so that ratios mean something on a busy machine.
//! `--connections N` prints one row; with `--only few|all` it serves one case, for callgrind.

use std::collections::VecDeque;
use std::time::{Duration, Instant as Clock};

use sluice_engine::Worker;
use sluice_perf::client::{End, Outcome, Request, Workload};
use sluice_perf::memory::{Memory, Setup};
use sluice_stack::sim::SimPort;
use sluice_stack::time::Instant;
use sluice_wire::http1::RequestKind;

/// Requests under way at once.
const UNDER_WAY: usize = 64;
/// Connections that are opened at once.
const OPENING: usize = 1_000;
/// The clock moves on so much after each turn.
const STEP: Duration = Duration::from_micros(200);
/// Turns after the last answer: longer than the least retransmission timeout.
const BEHIND: usize = 1_250;
/// Walks over connections in an order that no prefetcher guesses: prime, and no divisor of any
/// number of connections.
const STRIDE: usize = 7_919;

/// Which connections ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The first [`UNDER_WAY`], the others are idle.
    Few,
    /// All in turn.
    All,
}

/// The same small GET, on connections that are told to ask.
struct Told {
    request: Request,
    /// Whose turn it is.
    asks: Vec<bool>,
    /// Who was answered and has not been told to ask again, and how many were answered.
    done: VecDeque<usize>,
    answered: usize,
}

impl Workload for Told {
    fn next(&mut self, slot: usize, _now: Instant) -> Option<&Request> {
        std::mem::take(self.asks.get_mut(slot)?).then_some(&self.request)
    }

    fn ended(&mut self, slot: usize, outcome: Outcome) {
        let expected = matches!(
            outcome.end,
            End::Answered {
                status: 200,
                length: 100,
                ..
            }
        );
        assert!(expected, "{outcome:?}");
        self.done.push_back(slot);
        self.answered += 1;
    }
}

/// The gateway's polls, kept out of line so that callgrind can be told to count only them.
#[inline(never)]
fn gateway_poll(worker: &mut Worker<SimPort>, now: Instant) {
    worker.poll_once(now);
}

struct World {
    memory: Memory,
    told: Told,
    connections: usize,
    /// How many turns have been taken, for the order of `Who::All`.
    turns: usize,
}

impl World {
    fn new(connections: usize) -> World {
        let setup = Setup {
            connections,
            flows: connections + 4 * OPENING,
            ..Setup::default()
        };
        let memory = Memory::new(&setup).unwrap_or_else(|problems| panic!("{problems}"));
        let bytes =
            "GET / HTTP/1.1\r\nHost: sluice.test\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n";
        let request = Request {
            id: 0,
            bytes: bytes.into(),
            kind: RequestKind::Other,
            half_close: false,
            abandon_after: None,
        };
        let told = Told {
            request,
            asks: vec![false; connections],
            done: VecDeque::new(),
            answered: 0,
        };
        let mut world = World {
            memory,
            told,
            connections,
            turns: 0,
        };
        // Each opens with a request.
        let mut opened = 0;
        world.serve(connections, OPENING, |_| {
            opened += 1;
            opened - 1
        });
        world
    }

    /// Serves so many requests; returns the time per request.
    fn run(&mut self, who: Who, requests: usize) -> f64 {
        let (connections, turns) = (self.connections, self.turns);
        let mut turn = turns;
        let time = self.serve(requests, UNDER_WAY, |again| match (who, again) {
            (Who::Few, Some(slot)) => slot,
            _ => {
                turn += 1;
                match who {
                    Who::Few => (turn - 1 - turns) % UNDER_WAY.min(connections),
                    Who::All => (turn - 1) * STRIDE % connections,
                }
            }
        });
        self.turns = turn;
        time.as_nanos() as f64 / requests as f64
    }

    /// Serves so many requests, `under_way` at once. `next` says which connection asks next, given
    /// one that was answered.
    fn serve(
        &mut self,
        requests: usize,
        under_way: usize,
        mut next: impl FnMut(Option<usize>) -> usize,
    ) -> Duration {
        let mut gateway = Duration::ZERO;
        let World { memory, told, .. } = self;
        told.answered = 0;
        let mut begun = 0;
        // What is left behind, acknowledgements and timers, belongs to these requests.
        let mut behind = BEHIND;
        while told.answered < requests || behind > 0 {
            if told.answered == requests {
                behind -= 1;
            }
            let now = memory.net.now();
            while begun < requests && begun - told.answered < under_way {
                let slot = next(told.done.pop_front());
                told.asks[slot] = true;
                memory.client.kick_one(slot, told, now);
                begun += 1;
            }
            memory.turn(told, |worker, now| {
                let clock = Clock::now();
                gateway_poll(worker, now);
                gateway += clock.elapsed();
            });
            memory.advance(STEP);
        }
        told.done.clear();
        gateway
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A row of the table: the cost with few alone, with few among `connections`, and with all.
fn row(alone: &mut World, connections: usize, requests: usize, rounds: usize) {
    let mut crowd = World::new(connections);
    let mut times = [vec![], vec![], vec![]];
    for _ in 0..rounds {
        times[0].push(alone.run(Who::Few, requests));
        times[1].push(crowd.run(Who::Few, requests));
        times[2].push(crowd.run(Who::All, requests));
    }
    let [alone, few, all] = times.map(median);
    println!(
        "{connections:>11}  {alone:>8.0}  {few:>12.0}  {all:>10.0}  {:>9.2}  {:>7.2}",
        few / alone,
        all / alone
    );
}

fn main() {
    // `cargo test` passes --test; a bench is not a test, so there it only shows that it runs.
    let arguments: Vec<String> = std::env::args().collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)
    };
    let number = |name: &str| value(name)?.parse::<usize>().ok();
    let bench = flag("--bench");
    let requests = number("--requests").unwrap_or(if bench { 100_000 } else { 200 });
    let rounds = number("--rounds").unwrap_or(if bench { 5 } else { 1 });
    if let Some(who) = value("--only") {
        let mut world = World::new(number("--connections").unwrap_or(UNDER_WAY));
        let who = if who == "all" { Who::All } else { Who::Few };
        world.run(who, requests);
        return;
    }
    let rows: &[usize] = if bench {
        &[1_000, 10_000, 100_000, 1_000_000]
    } else {
        &[200]
    };
    let one = number("--connections").map(|n| [n]);
    let mut alone = World::new(UNDER_WAY);
    alone.run(Who::Few, requests);
    println!("nanoseconds per request, medians of {rounds} rounds of {requests}");
    println!("connections  64 alone  64 among all  all active  few/alone  all/alone");
    let mut per_connection = 0;
    for &connections in one.as_ref().map_or(rows, |one| one) {
        let needs = connections as u64 * per_connection;
        let free = kib("/proc/meminfo", "MemAvailable:").unwrap_or(u64::MAX);
        if needs > free {
            println!("{connections:>11}  takes some {needs} KiB, of which {free} are free");
            continue;
        }
        row(&mut alone, connections, requests, rounds);
        let most = kib("/proc/self/status", "VmHWM:").unwrap_or(0);
        per_connection = most / connections as u64;
    }
    let most = kib("/proc/self/status", "VmHWM:").unwrap_or(0);
    println!("at most {most} KiB resident: client, gateway and backend");
}

/// A figure of a file of the kernel's.
fn kib(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

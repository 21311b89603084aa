//! One proxied request through the gateway in memory: client, gateway and backend in one thread, no
//! DPDK, no kernel. The time and (under callgrind) the instructions of the gateway's polls alone.
//!
//! `cargo bench -p sluice-perf --bench proxied_request` prints nanoseconds; `perf/icount` runs it
//! under callgrind and prints instructions. With `--access-log` every request is logged; with `--policies`
//! ten policies look at it, and change it; with `--workers N`, `--queues N` and `--at-random` the gateway has
//! several workers, whose time is added up; with `--two-hop` the request passes two gateways, one behind the other.

use std::time::{Duration, Instant as Clock};

use sluice_engine::Worker;
use sluice_perf::client::{End, Outcome, Request, Workload};
use sluice_perf::memory::{Memory, Setup, Workers, rules};
use sluice_perf::two_hop::TwoHop;
use sluice_stack::fate::StackEvent;
use sluice_stack::sim::SimPort;
use sluice_stack::time::Instant;
use sluice_wire::http1::RequestKind;

/// The same small GET on every connection, one at a time, until told to stop.
struct Same {
    request: Request,
    left: u64,
    answered: u64,
    wrong: u64,
}

impl Workload for Same {
    fn next(&mut self, _slot: usize, _now: Instant) -> Option<&Request> {
        self.left = self.left.checked_sub(1)?;
        Some(&self.request)
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
    }
}

/// The gateway's polls, kept out of line so that callgrind can be told to count only them.
#[inline(never)]
fn gateway_poll(worker: &mut Worker<SimPort>, now: Instant) {
    worker.poll_once(now);
}

/// The rules with ten policies: two tags of lanes; three routes that are asked before and do not take it,
/// by a header, a network and a share of users; a split that is sticky by a cookie; headers of the request
/// and of the response, one of them computed; a copy for few; a drill.
fn with_policies(text: &str) -> String {
    let (before, routes) = text.split_once("routes:\n").unwrap_or((text, ""));
    let endpoints = before.lines().find(|line| line.contains("endpoints:"));
    let endpoints = endpoints.unwrap_or_default().trim();
    format!(
        r#"{before}  next:
    {endpoints}
    max_connections: 100000
    max_idle: 100000
lanes:
  tags:
    - {{ lane: tester, headers: {{ x-user: tester }} }}
    - {{ lane: canary, query: {{ canary: yes }} }}
routes:
  - {{ host: sluice.test, headers: {{ x-debug: "1" }}, service: next }}
  - {{ host: sluice.test, source: 192.168.0.0/16, service: next }}
  - {{ host: sluice.test, sample: {{ share: 0.0001%, by: source }}, service: next }}
  - host: sluice.test
    split: [{{ service: hello, weight: 9 }}, {{ service: next, weight: 1 }}]
    sticky: {{ cookie: user }}
    request_headers: {{ set: {{ x-edge: "1", x-caller: "${{client_ip}}" }} }}
    response_headers: {{ set: {{ x-served-by: sluice }} }}
    mirror: {{ service: next, share: 0% }}
    fault: {{ delay: {{ time: 10ms, share: 0% }}, abort: {{ share: 0% }}, until: 2099-01-01T00:00:00Z }}
{}"#,
        routes.replace("host: sluice.test,", "host: other.test,")
    )
}

struct Measured {
    answered: u64,
    gateway: Duration,
}

fn work(requests: u64) -> Same {
    Same {
        request: Request {
            id: 0,
            bytes: b"GET / HTTP/1.1\r\nHost: sluice.test\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n"
                .to_vec(),
            kind: RequestKind::Other,
            half_close: false,
            abandon_after: None,
        },
        left: requests,
        answered: 0,
        wrong: 0,
    }
}

/// The same through two gateways.
fn run_two_hop(world: &mut TwoHop, requests: u64) -> Measured {
    let mut work = work(requests);
    let mut gateway = Duration::ZERO;
    world.client.kick(&mut work, world.net.now());
    for _ in 0..requests + 10_000 {
        world.turn(&mut work, |worker, now| {
            let began = Clock::now();
            gateway_poll(worker, now);
            gateway += began.elapsed();
        });
        if work.left == 0 && world.client.under_way() == 0 {
            break;
        }
        world.advance(Duration::from_micros(200));
    }
    assert_eq!((work.answered, work.wrong), (requests, 0));
    Measured {
        answered: work.answered,
        gateway,
    }
}

fn run(memory: &mut Memory, requests: u64) -> Measured {
    let mut work = work(requests);
    let mut gateway = Duration::ZERO;
    let others = memory.others.iter().map(|other| other.handoff.clone());
    let logs: Vec<_> = others.chain([memory.handoff.clone()]).collect();
    let now = memory.net.now();
    memory.client.kick(&mut work, now);
    // Each turn answers many requests; far fewer turns than requests are ever needed.
    for _ in 0..requests + 10_000 {
        memory.turn(&mut work, |worker, now| {
            let began = Clock::now();
            gateway_poll(worker, now);
            gateway += began.elapsed();
            // What the access log's thread does, on a core of its own.
            for log in &logs {
                while let Some(record) = log.access_log().pop() {
                    log.access_log().give_back(record);
                }
            }
        });
        if work.left == 0 && memory.client.under_way() == 0 {
            break;
        }
        memory.advance(Duration::from_micros(200));
    }
    assert_eq!(
        (work.answered, work.wrong),
        (requests, 0),
        "{:?}",
        memory.stats
    );
    Measured {
        answered: work.answered,
        gateway,
    }
}

pub(crate) fn main() {
    // `cargo test` passes --test; a bench is not a test, so there it only shows that it runs.
    let arguments: Vec<String> = std::env::args().collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    let requests = number("--requests").unwrap_or(if flag("--bench") { 400_000 } else { 2_000 });
    let rounds = number("--rounds").unwrap_or(if flag("--bench") { 7 } else { 1 });
    let flows: Vec<usize> =
        number("--flows").map_or_else(|| vec![1, 64, 1_000], |n| vec![n as usize]);
    for connections in flows {
        let setup = Setup {
            connections,
            workers: Workers {
                count: number("--workers").unwrap_or(1) as u16,
                queues: number("--queues").unwrap_or(1) as u16,
                at_random: flag("--at-random"),
            },
            ..Setup::default()
        };
        if flag("--two-hop") {
            let world = TwoHop::new(&setup);
            let mut world = world.unwrap_or_else(|problems| panic!("{problems}"));
            run_two_hop(&mut world, connections as u64 * 4);
            let rounds = (0..rounds).map(|_| run_two_hop(&mut world, requests));
            report("two_hop", connections, per_request(rounds));
            continue;
        }
        let mut text = rules(&setup);
        if flag("--policies") {
            text = with_policies(&text);
        }
        if flag("--access-log") {
            text.push_str("access_log: { file: access.json }\n");
        }
        let memory = Memory::with_rules(&setup, &text);
        let mut memory = memory.unwrap_or_else(|problems| panic!("{problems}"));
        memory.handoff.access_log().fill();
        if flag("--policies") {
            // Drills have an end, so they need the time.
            memory.worker.set_wall_clock(1_800_000_000);
        }
        run(&mut memory, connections as u64 * 4);
        let times = per_request((0..rounds).map(|_| run(&mut memory, requests)));
        if !memory.others.is_empty() {
            let per = |event| {
                let all = memory
                    .all_stats()
                    .map(|stats| stats.stack.events.get(event));
                all.sum::<u64>() as f64 / (requests * rounds) as f64
            };
            println!(
                "handed_over={:.2} frame_relayed={:.2} per request",
                per(StackEvent::HandedOver),
                per(StackEvent::FrameRelayed)
            );
        }
        report("proxied_request", connections, times);
    }
}

/// Nanoseconds of each round.
fn per_request(rounds: impl Iterator<Item = Measured>) -> Vec<f64> {
    let nanos = |measured: Measured| measured.gateway.as_nanos() as f64 / measured.answered as f64;
    rounds.map(nanos).collect()
}

fn report(name: &str, connections: usize, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    println!(
        "{name} flows={connections} rounds={} ns_min={:.0} ns_median={:.0} ns_max={:.0}",
        times.len(),
        times[0],
        times[times.len() / 2],
        times[times.len() - 1],
    );
}

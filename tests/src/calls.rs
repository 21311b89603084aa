//! Remote procedure calls simulated: callers that send, die and dawdle, a service that answers in any
//! order, late, or not at all, links with faults, all following from a seed. [`run`] plays one seed.
//!
//! What must hold: each call gets exactly one outcome, the reply to itself or an exception; nobody gets
//! what is another's; callers that go by the order get it; nothing is left at the end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sluice_perf::calls::{Form, Seen, call, take};
use sluice_perf::memory::Setup;
use sluice_perf::scripted::Scripted;
use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;
use sluice_wire::thrift::MessageKind;

use crate::links::lanes;
use crate::rpc_world::{Patience, Waiting, over, rules};
use crate::sim::Report;

/// A caller's connection.
struct Caller {
    connection: usize,
    form: Form,
    in_order: bool,
    /// Bodies of calls without an outcome yet, by sequence.
    open: BTreeMap<i32, Vec<u8>>,
    order: VecDeque<i32>,
    next: i32,
    received: Vec<u8>,
    /// The end of a frame that is sent later.
    rest: Vec<u8>,
}

struct Play {
    rng: Rng,
    /// What callers speak, and in what framing the service answers them: from a chance of its own, so that a
    /// seed's world is otherwise what it was.
    forms: Rng,
    world: Scripted,
    callers: Vec<Caller>,
    asked: Vec<Vec<u8>>,
    /// Replies to be sent, by the service's connection.
    replies: Vec<(Instant, usize, Vec<u8>)>,
    by_frame: bool,
    /// Calls may fail: links or the service see to it.
    rough: bool,
    misbehaving: bool,
    /// Calls may wait for a connection until their time is over.
    slow: bool,
    left: u64,
    /// Bytes of the listener's buffer: requests behind a MeshHeader have to fit into it.
    buffer: usize,
    report: Report,
}

/// Plays a seed.
pub fn run(seed: u64) -> Report {
    let mut rng = Rng::new(seed ^ 0xca11);
    let mut forms = Rng::new(seed ^ 0x666f_726d);
    let level = [0.0, 0.0, 0.01, 0.05][rng.below(4) as usize];
    let faults = lanes(&mut rng, level, 2_000);
    let mut links = Rng::new(seed ^ 0x6c61_6e73);
    let setup = Setup {
        seed,
        mtu: [576, 1_500, 9_000][links.below(3) as usize],
        vlan: links.chance(0.5).then(|| 1 + links.below(4_094) as u16),
        faults,
        buffer: [16, 64][rng.below(2) as usize] * 1024,
        ..Setup::default()
    };
    let multiplex = ["none", "message", "frame"][rng.below(3) as usize];
    let service = service(multiplex, &mut rng, &mut forms);
    let text = rules(&setup, &service);
    let calls = 20 + rng.below(150);
    let mut report = Report {
        requests: calls,
        ..Report::default()
    };
    let world = match Scripted::new(&setup, &text) {
        Ok(world) => world,
        Err(problems) => {
            report.violations.push(problems);
            return report;
        }
    };
    let misbehaving = rng.chance(0.5);
    let mut play = Play {
        callers: Vec::new(),
        asked: Vec::new(),
        replies: Vec::new(),
        by_frame: multiplex == "frame",
        rough: level > 0.0 || misbehaving,
        misbehaving,
        slow: multiplex == "none",
        left: calls,
        report,
        forms,
        buffer: setup.buffer,
        world,
        rng,
    };
    for _ in 0..1 + play.rng.below(8) {
        play.open_caller();
    }
    play.play();
    over(&mut play.world, play.rough, &mut play.report);
    play.report
}

/// The service's settings. One that takes whatever comes gets MeshHeaders as well; where callers share connections
/// it has to be told what it speaks.
fn service(multiplex: &str, rng: &mut Rng, forms: &mut Rng) -> String {
    let protocol = match multiplex {
        "none" if forms.chance(0.5) => "auto",
        _ => "ttheader",
    };
    format!(
        "protocol: {protocol}, multiplex: {multiplex}, shared_connections: {}, max_connections: {}, \
         response_timeout: 20s, request_timeout: 40s",
        1 + rng.below(3),
        8 + rng.below(8),
    )
}

impl Play {
    fn play(&mut self) {
        let mut waiting = Waiting::default();
        loop {
            if self.left > 0 {
                self.make_calls();
            }
            self.finish_frames();
            let step = Duration::from_micros(50 + self.rng.below(4_000));
            self.world.pass(step);
            self.serve();
            self.check();
            let now = self.world.now();
            let open = self.callers.iter().any(|caller| !caller.open.is_empty());
            if self.left == 0 && !open {
                break;
            }
            if self.left == 0 {
                match waiting.on(now, self.rough) {
                    Patience::Wait => {}
                    Patience::GiveUp => self.give_up(),
                    Patience::Over => {
                        let open: Vec<_> = self.callers.iter().map(|c| c.open.keys()).collect();
                        let text = format!("calls without an outcome: {open:?}");
                        self.report.violations.push(text);
                        break;
                    }
                }
                // Nothing but time is wanting.
                let pause = Duration::from_millis(self.rng.below(20));
                self.world.pass(pause);
            }
        }
    }

    /// Ends the connections of calls that are still open.
    fn give_up(&mut self) {
        let now = self.world.now();
        for caller in &mut self.callers {
            if !caller.open.is_empty() {
                self.world.client.reset(caller.connection, now);
                caller.open.clear();
                caller.order.clear();
                caller.rest.clear();
            }
        }
    }

    fn open_caller(&mut self) {
        let (to, buffers, now) = (self.world.target, self.world.buffers, self.world.now());
        let Some(connection) = self.world.client.open(to, buffers, now) else {
            return;
        };
        let framed = self.forms.chance(0.5);
        let form = match self.forms.below(6) {
            0 => Form::Mesh { framed },
            1 => Form::Plain { framed },
            _ => Form::TtHeader,
        };
        // Nothing else than the order tells replies to the others apart.
        let in_order = self.rng.chance(0.3) || form != Form::TtHeader;
        self.callers.push(Caller {
            connection,
            form,
            in_order,
            open: BTreeMap::new(),
            order: VecDeque::new(),
            next: 1,
            received: Vec::new(),
            rest: Vec::new(),
        });
    }

    fn make_calls(&mut self) {
        let now = self.world.now();
        for number in 0..self.callers.len() {
            if self.left == 0 || !self.rng.chance(0.3) {
                continue;
            }
            if self.misbehaving && self.rng.chance(0.02) {
                let caller = self.callers.swap_remove(number);
                self.world.client.reset(caller.connection, now);
                self.open_caller();
                break;
            }
            let size = match self.rng.below(100) {
                0..90 => self.rng.below(300),
                90..98 => self.rng.below(20_000),
                _ => self.rng.below(400_000),
            };
            let caller = &mut self.callers[number];
            let size = match caller.form {
                Form::TtHeader => size,
                _ => size % (self.buffer as u64 - 2_048),
            };
            if !caller.rest.is_empty() {
                continue;
            }
            self.left -= 1;
            let sequence = caller.next;
            caller.next += 1;
            let mut body = format!("{}:{sequence}:", caller.connection).into_bytes();
            let salt = self.rng.below(251) as usize;
            body.extend((0..size as usize).map(|at| ((at * 31 + salt) % 251) as u8));
            let mut frame = call(caller.form, sequence, &body);
            if caller.in_order {
                if caller.form == Form::TtHeader {
                    frame[7] = 0;
                }
                caller.order.push_back(sequence);
            }
            caller.open.insert(sequence, body);
            if self.rng.chance(0.2) {
                let at = self.rng.below(frame.len() as u64) as usize;
                caller.rest = frame.split_off(at);
            }
            self.world.client.send(caller.connection, &frame, now);
        }
    }

    /// Sends the ends of frames that were begun.
    fn finish_frames(&mut self) {
        let now = self.world.now();
        for caller in &mut self.callers {
            if !caller.rest.is_empty() && self.rng.chance(0.5) {
                let rest = std::mem::take(&mut caller.rest);
                self.world.client.send(caller.connection, &rest, now);
            }
        }
    }

    /// What the service does with what it was asked.
    fn serve(&mut self) {
        let now = self.world.now();
        let backend = &mut self.world.backend;
        self.asked.resize(backend.connections(), Vec::new());
        for (connection, asked) in self.asked.iter_mut().enumerate() {
            asked.append(&mut backend.take(connection));
            loop {
                let seen = match take(asked) {
                    Ok(Some(seen)) => seen,
                    Ok(None) => break,
                    Err(error) => {
                        let text = format!("the service got no frame: {error}");
                        self.report.violations.push(text);
                        asked.clear();
                        break;
                    }
                };
                if self.misbehaving && self.rng.chance(0.01) {
                    backend.reset(connection, now);
                    break;
                }
                if self.misbehaving && self.rng.chance(0.02) {
                    continue;
                }
                let late = self.misbehaving && self.rng.chance(0.01);
                let wait = if late { 30_000 } else { self.rng.below(40) };
                let reply = seen.echo(self.by_frame, self.forms.chance(0.5));
                let due = now + Duration::from_millis(wait);
                self.replies.push((due, connection, reply));
            }
        }
        let due = self.replies.extract_if(.., |(due, ..)| *due <= now);
        for (_, connection, reply) in due {
            backend.send(connection, &reply, now);
        }
    }

    /// What callers got.
    fn check(&mut self) {
        let mut violations = Vec::new();
        for caller in &mut self.callers {
            let bytes = self.world.client.take(caller.connection);
            caller.received.extend_from_slice(&bytes);
            loop {
                match take(&mut caller.received) {
                    Ok(None) => break,
                    Ok(Some(seen)) => {
                        let may_fail = self.rough || self.slow;
                        judge(caller, &seen, may_fail, &mut violations);
                    }
                    Err(error) => {
                        violations.push(format!("a caller got no frame: {error}"));
                        break;
                    }
                }
            }
            if self.world.client.end(caller.connection).is_some() {
                if !caller.open.is_empty() && !self.rough {
                    violations.push(format!("ended with calls open: {:?}", caller.open.keys()));
                }
                caller.open.clear();
                caller.order.clear();
                caller.rest.clear();
            }
        }
        self.report.violations.append(&mut violations);
        let ended = |caller: &Caller| self.world.client.end(caller.connection).is_some();
        let gone = self.callers.iter().filter(|caller| ended(caller)).count();
        self.callers
            .retain(|caller| self.world.client.end(caller.connection).is_none());
        for _ in 0..gone {
            self.open_caller();
        }
    }
}

fn judge(caller: &mut Caller, seen: &Seen, may_fail: bool, violations: &mut Vec<String>) {
    let Some(body) = caller.open.remove(&seen.frame) else {
        violations.push(format!(
            "a reply to no call, or a second one: {}",
            seen.frame
        ));
        return;
    };
    if caller.in_order && caller.order.pop_front() != Some(seen.frame) {
        violations.push(format!("out of order: {}", seen.frame));
    }
    // A client of plain Thrift reads replies in frames or without, not both; a server may leave a MeshHeader out.
    let own_form = match caller.form {
        Form::TtHeader => seen.form == Form::TtHeader,
        Form::Mesh { framed } | Form::Plain { framed } => {
            seen.form == Form::Mesh { framed } || seen.form == Form::Plain { framed }
        }
    };
    if !own_form {
        violations.push(format!("{:?} to {:?}", seen.form, caller.form));
    }
    let fine = match seen.kind {
        MessageKind::Reply => seen.message == seen.frame && seen.body == body,
        MessageKind::Exception => may_fail && seen.message == seen.frame,
        MessageKind::Call | MessageKind::Oneway => false,
    };
    if !fine {
        let said = String::from_utf8_lossy(seen.body.get(..100).unwrap_or(&seen.body));
        violations.push(format!("{} {:?}: {said}", seen.frame, seen.kind));
    }
}

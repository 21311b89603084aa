//! Tells a client that may ask, in headers of the answer, what the rules made of its request and who
//! answered it.

use sluice_policy::{Underway, explain_underway};
use sluice_stack::counters::Counted;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::http1::{FieldName, FieldValue, add_fields};

use crate::chain::{HttpPassage, Verdict};
use crate::ended::Notes;
use crate::generations::Generations;
use crate::pool::Pools;
use crate::reply::LocalReply;
use crate::stats::RequestFate;
use crate::worker::Worker;

/// Headers at most.
const MAX_LINES: usize = 40;
/// Bytes of the value of one.
const MAX_LINE: usize = 256;

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By {
    /// The service, whose head is there.
    Service,
    /// The gateway, with this status and fate.
    Here(u16, RequestFate),
}

/// What is told about a request, a line for each thing.
pub(crate) struct Told {
    lines: Vec<String>,
}

/// What is told about a request, as far as it is known when its head was judged.
#[cold]
pub(crate) fn explained(passage: &HttpPassage<'_, '_>, verdict: &Verdict<'_>) -> Box<Told> {
    let unrouted = matches!(verdict, Verdict::Reply(reply) if *reply != LocalReply::NO_ROUTE);
    let said = explain_underway(&Underway {
        snapshot: passage.rules,
        listener: passage.listener,
        trusted: passage.trusted,
        authority: passage.request.host(),
        view: &passage.view,
        route: passage.route,
        refused: passage.route.is_none() && unrouted,
        wall: passage.wall,
    });
    let mut lines = said.lines();
    lines.insert(0, format!("generation {}", passage.rules.generation));
    lines.extend(passage.hold.map(|hold| format!("held for {hold:?}")));
    Box::new(Told { lines })
}

/// Where the names of who answered are found.
#[derive(Clone, Copy)]
pub(crate) struct Answerers<'a> {
    pub(crate) generations: &'a Generations,
    pub(crate) pools: &'a Pools,
}

impl Answerers<'_> {
    /// Adds to the answer in `out` what is told about its request.
    #[cold]
    pub(crate) fn tell(self, notes: &Notes, by: By, out: &mut Vec<u8>) {
        let Some(Told { lines }) = notes.explain.as_deref() else {
            return;
        };
        let last = self.outcome(notes, by);
        let room = MAX_LINES - 1;
        let more = lines.len().saturating_sub(room);
        let cut = (more > 0).then(|| format!("and {} more", more + 1));
        let shown = lines.iter().take(room - usize::from(more > 0));
        let lines: Vec<Vec<u8>> = shown
            .chain(&cut)
            .chain([&last])
            .map(|line| visible(line))
            .collect();
        let values = lines.iter().filter_map(|line| FieldValue::new(line).ok());
        add_fields(out, FieldName::X_SLUICE_EXPLAIN, values);
    }

    /// Who answered, and when.
    fn outcome(self, notes: &Notes, by: By) -> String {
        let mut said = match by {
            By::Service => "answered by".to_owned(),
            By::Here(status, fate) => format!("answered here with {status} ({})", fate.name()),
        };
        let service = notes.taken.and_then(|(generation, _, service)| {
            let rules = self.generations.get(generation)?;
            rules.snapshot.service(service)
        });
        let pool = notes.pool.and_then(|pool| self.pools.get(pool));
        let (Some(service), Some(pool)) = (service, pool) else {
            return said;
        };
        if let By::Here(..) = by {
            said += ", tried";
        }
        let (name, address, attempts) = (&service.name, pool.address, notes.attempts);
        said += &format!(" service {name}, endpoint {address}, attempt {attempts}");
        let after =
            |instant: Instant| (instant != Instant::NEVER).then(|| instant.since(notes.head));
        if let Some(after) = after(notes.connected) {
            let kind = if notes.reused { "a used" } else { "a new" };
            said += &format!(", {kind} connection after {}us", after.as_micros());
        }
        if let Some(after) = after(notes.first_byte) {
            said += &format!(", response after {}us", after.as_micros());
        }
        said
    }
}

/// What every reader of a header takes: ASCII that can be seen, of a bounded length.
fn visible(line: &str) -> Vec<u8> {
    let seen = |c: char| {
        if matches!(c, ' '..='~') {
            c as u8
        } else {
            b'?'
        }
    };
    let mut value: Vec<u8> = line.chars().take(MAX_LINE).map(seen).collect();
    if line.chars().nth(MAX_LINE).is_some() {
        value.truncate(MAX_LINE - 3);
        value.extend_from_slice(b"...");
    }
    value
}

impl<P: PacketIo> Worker<P> {
    /// The same for the gateway's own answer, in the scratch buffer.
    #[cold]
    pub(crate) fn tell(&mut self, notes: &Notes, by: By) {
        let answerers = Answerers {
            generations: &self.generations,
            pools: &self.pools,
        };
        answerers.tell(notes, by, &mut self.spare.out);
    }
}

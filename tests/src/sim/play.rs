//! The requests of a seed, and what their outcomes may be.

use std::collections::HashMap;
use std::fmt::Write;

use sluice_perf::bytes::{self, Ask, Form};
use sluice_perf::client::{End, Outcome, Request, Workload};
use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;
use sluice_wire::http1::RequestKind;

/// What the answer to a request may be.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) form: Form,
    pub(super) length: u64,
    pub(super) slot: usize,
    pub(super) may_abandon: bool,
    pub(super) ended: bool,
}

pub(super) struct Play {
    pub(super) rng: Rng,
    pub(super) left: u64,
    pub(super) rough: bool,
    pub(super) misbehaving: bool,
    pub(super) expected: HashMap<u64, Expected>,
    pub(super) next: Option<Request>,
    pub(super) violations: Vec<String>,
}

impl Workload for Play {
    fn next(&mut self, slot: usize, _now: Instant) -> Option<&Request> {
        self.left = self.left.checked_sub(1)?;
        let id = self.left;
        let request = self.request(id, slot);
        self.next = Some(request);
        self.next.as_ref()
    }

    fn ended(&mut self, slot: usize, outcome: Outcome) {
        let Some(expected) = self.expected.get_mut(&outcome.id) else {
            self.violations
                .push(format!("an outcome for a request never made: {outcome:?}"));
            return;
        };
        if expected.ended || expected.slot != slot {
            let text = format!("a second or misplaced outcome: {outcome:?} for {expected:?}");
            self.violations.push(text);
        }
        expected.ended = true;
        if !self.rough_or_right(outcome) {
            let expected = &self.expected[&outcome.id];
            self.violations
                .push(format!("{outcome:?} for {expected:?}"));
        }
    }
}

impl Play {
    fn rough_or_right(&self, outcome: Outcome) -> bool {
        let expected = &self.expected[&outcome.id];
        let good = match outcome.end {
            // Whatever else happens: a 200 is whole and right.
            End::Answered {
                status: 200,
                length,
                right,
            } => {
                return right
                    && length == expected.length
                    && matches!(
                        expected.form,
                        Form::Length | Form::Chunked(_) | Form::UntilClose | Form::Interim
                    );
            }
            End::Answered { status: 502, .. } => {
                matches!(
                    expected.form,
                    Form::CloseEarly | Form::Reset | Form::Garbage
                )
            }
            End::Answered { status: 504, .. } => expected.form == Form::Stall,
            End::Broken => expected.form == Form::Truncate,
            End::Abandoned => return expected.may_abandon,
            End::Answered { .. } | End::Garbage | End::Refused | End::TimedOut => false,
        };
        let told = matches!(
            outcome.end,
            End::Answered { status: 408 | 502 | 503 | 504, .. }
                | End::Broken
                | End::Refused
                // A reset that got lost is not sent again: only the client's own patience ends it.
                | End::TimedOut
        );
        good || (self.rough && told)
    }

    fn request(&mut self, id: u64, slot: usize) -> Request {
        let rng = &mut self.rng;
        let form = match rng.below(20) {
            0..=7 => Form::Length,
            8..=11 => Form::Chunked(1 + rng.below(5_000) as u16),
            12 => Form::Interim,
            13 | 14 => Form::UntilClose,
            15 if self.misbehaving => Form::CloseEarly,
            16 if self.misbehaving => Form::Reset,
            17 if self.misbehaving => Form::Truncate,
            18 if self.misbehaving => Form::Garbage,
            19 if self.misbehaving && rng.chance(0.3) => Form::Stall,
            _ => Form::Length,
        };
        let length = match rng.below(10) {
            0 => 0,
            1..=6 => rng.below(2_000),
            7 | 8 => rng.below(40_000),
            _ => rng.below(300_000),
        };
        // Half of nothing is all of it: a truncated answer has to lack something.
        let length = if form == Form::Truncate {
            length.max(2)
        } else {
            length
        };
        let ask = Ask { id, length, form };
        let kind = if rng.chance(0.05) && form != Form::Truncate {
            RequestKind::Head
        } else {
            RequestKind::Other
        };
        let upload = (kind == RequestKind::Other && rng.chance(0.3)).then(|| match rng.below(4) {
            0 => rng.below(100_000),
            _ => rng.below(3_000),
        });
        let (chunked, old) = (rng.chance(0.5), upload.is_none() && rng.chance(0.1));
        let mut text = String::new();
        let method = match (kind, upload) {
            (RequestKind::Head, _) => "HEAD",
            (_, Some(_)) => "POST",
            _ => "GET",
        };
        let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
        let _ = write!(
            text,
            "{method} {} {version}\r\nHost: sluice.test\r\n",
            ask.path()
        );
        match upload {
            Some(_) if chunked => text.push_str("Transfer-Encoding: chunked\r\n\r\n"),
            Some(size) => {
                let _ = write!(text, "Content-Length: {size}\r\n\r\n");
            }
            None => text.push_str("\r\n"),
        }
        let mut bytes = text.into_bytes();
        if let Some(size) = upload {
            if chunked {
                let mut at = 0;
                while at < size {
                    let to = (at + 1 + rng.below(3_000)).min(size);
                    bytes.extend_from_slice(format!("{:x}\r\n", to - at).as_bytes());
                    bytes::append(&mut bytes, id, at, to);
                    bytes.extend_from_slice(b"\r\n");
                    at = to;
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            } else {
                bytes::append(&mut bytes, id, 0, size);
            }
        }
        let abandon_after = (self.misbehaving && rng.chance(0.1)).then(|| rng.below(10_000));
        let half_close = rng.chance(0.05);
        let length = if kind == RequestKind::Head { 0 } else { length };
        let may_abandon = abandon_after.is_some();
        let expected = Expected {
            form,
            length,
            slot,
            may_abandon,
            ended: false,
        };
        self.expected.insert(id, expected);
        Request {
            id,
            bytes,
            kind,
            half_close,
            abandon_after,
        }
    }
}

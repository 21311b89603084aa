//! Frames and messages as tests write and read them, and the worlds that they travel in.

use sluice_wire::thrift::{self, MessageHead, MessageKind};
use sluice_wire::ttheader::{Flags, Head, Limits, NewHead, integer};

use crate::world::{BUFFER, Rules, World};

/// A message in the binary protocol without a frame.
pub(super) fn message(kind: MessageKind, method: &str, sequence: i32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80, 1, 0, kind as u8];
    out.extend_from_slice(&(method.len() as u32).to_be_bytes());
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// A string as the only field of a struct.
pub(super) fn text(text: &str) -> Vec<u8> {
    let mut out = vec![0x0b, 0, 1];
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    out
}

/// What a test says of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) flags: u16,
    pub(super) frame: i32,
    pub(super) message: i32,
    pub(super) kind: MessageKind,
    pub(super) method: &'a str,
    pub(super) strings: &'a [(&'a [u8], &'a [u8])],
    pub(super) integers: &'a [(u16, &'a [u8])],
}

impl<'a> Sent<'a> {
    /// A call whose frame and message have this sequence, from a caller that takes replies in any order.
    pub(super) fn call(sequence: i32) -> Self {
        Sent {
            flags: Flags::OUT_OF_ORDER.0,
            frame: sequence,
            message: sequence,
            kind: MessageKind::Call,
            method: "echo",
            strings: &[],
            integers: &[(integer::TO_SERVICE, b"hello")],
        }
    }

    /// The same, from a caller that takes replies in the order of its calls.
    pub(super) fn in_order(sequence: i32) -> Self {
        Sent {
            flags: 0,
            ..Sent::call(sequence)
        }
    }

    pub(super) fn with(self, body: &str) -> Vec<u8> {
        self.with_bytes(&text(body))
    }

    pub(super) fn with_bytes(self, body: &[u8]) -> Vec<u8> {
        let message = message(self.kind, self.method, self.message, body);
        let mut out = Vec::new();
        let head = NewHead {
            flags: Flags(self.flags),
            sequence: self.frame,
            strings: self.strings,
            integers: self.integers,
            ..NewHead::default()
        };
        head.write(&mut out, message.len()).expect("a small head");
        out.extend_from_slice(&message);
        out
    }
}

/// A frame as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) flags: u16,
    pub(super) frame: i32,
    pub(super) message: i32,
    pub(super) kind: MessageKind,
    pub(super) method: String,
    pub(super) body: Vec<u8>,
    /// All of it.
    pub(super) bytes: Vec<u8>,
}

impl Got {
    pub(super) fn head(&self) -> Head<'_> {
        head(&self.bytes)
    }

    /// The text of an exception.
    pub(super) fn exception(&self) -> (i32, String) {
        assert_eq!(self.kind, MessageKind::Exception, "{self:?}");
        let len = u32::from_be_bytes(self.body[3..7].try_into().expect("four")) as usize;
        let text = String::from_utf8_lossy(&self.body[7..7 + len]).into_owned();
        let kind = self.body[7 + len + 3..][..4].try_into().expect("four");
        (i32::from_be_bytes(kind), text)
    }

    /// The reply that a server gives which goes by the sequence of the message (Kitex, Volo).
    pub(super) fn answer(&self, body: &str) -> Vec<u8> {
        Sent {
            flags: 0,
            kind: MessageKind::Reply,
            integers: &[(integer::MSG_TYPE, b"2")],
            method: &self.method,
            frame: self.message,
            message: self.message,
            strings: &[],
        }
        .with(body)
    }

    /// The reply that a server gives which goes by the sequence of the frame.
    pub(super) fn answer_by_frame(&self, body: &str) -> Vec<u8> {
        Sent {
            flags: 0,
            kind: MessageKind::Reply,
            integers: &[(integer::MSG_TYPE, b"2")],
            method: &self.method,
            frame: self.frame,
            message: self.message,
            strings: &[],
        }
        .with(body)
    }
}

fn head(bytes: &[u8]) -> Head<'_> {
    let limits = Limits {
        frame: 1 << 30,
        ..Limits::default()
    };
    let head = Head::parse(bytes, &limits).expect("a sound head");
    head.complete().expect("a whole head")
}

/// All frames that `bytes` are, which must end with the last.
pub(super) fn frames(mut bytes: &[u8]) -> Vec<Got> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let head = head(bytes);
        let (own, rest) = bytes.split_at(head.frame_len());
        let limits = thrift::Limits::default();
        let message = MessageHead::parse(&own[head.bytes().len()..], &limits);
        let message = message.expect("sound").complete().expect("whole");
        all.push(Got {
            flags: head.flags().0,
            frame: head.sequence(),
            message: message.sequence,
            kind: message.kind,
            method: String::from_utf8_lossy(message.method).into_owned(),
            body: own[head.bytes().len() + message.bytes().len()..].to_vec(),
            bytes: own.to_vec(),
        });
        bytes = rest;
    }
    all
}

/// One route to a service of these settings.
pub(super) fn world(service: &str) -> World {
    World::with(&rules("", service))
}

pub(super) fn rules(listener: &str, service: &str) -> Rules {
    Rules {
        listener: format!(
            r#"web: {{ address: "10.77.1.1:80", buffer: {BUFFER}B, request_id: false, {listener} }}"#
        ),
        service: service.into(),
        routes: "{ service: hello }".into(),
        ..Rules::default()
    }
}

/// A listener with these settings, and whatever services and routes.
pub(super) fn world_of(listener: &str, services_and_routes: &str) -> World {
    World::set_up(
        &crate::world::setup(),
        &format!(
            r#"
ports:
  back: {{ device: "net_memory1", addresses: ["10.77.2.1/24"] }}
  front: {{ device: "net_memory0", addresses: ["10.77.1.1/24"] }}
listeners:
  web: {{ address: "10.77.1.1:80", buffer: {BUFFER}B, request_id: false, {listener} }}
{services_and_routes}
"#
        ),
    )
}

/// One call at a time on each connection.
pub(super) const ONE: &str = "protocol: ttheader, max_idle: 4";
/// The service goes by the sequence of the message.
pub(super) const BY_MESSAGE: &str =
    "protocol: ttheader, multiplex: message, shared_connections: 1, max_idle: 4";
/// The service goes by the sequence of the frame.
pub(super) const BY_FRAME: &str =
    "protocol: ttheader, multiplex: frame, shared_connections: 1, max_idle: 4";

impl World {
    /// The frames that a client got since last asked.
    pub(super) fn replies(&mut self, client: usize) -> Vec<Got> {
        frames(&self.client.take(client))
    }

    /// The one frame that a client got since last asked.
    pub(super) fn reply(&mut self, client: usize) -> Got {
        let mut all = self.replies(client);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// The frames that the service got on a connection since last asked.
    pub(super) fn requests(&mut self, backend: usize) -> Vec<Got> {
        frames(&self.backend.take(backend))
    }

    pub(super) fn request(&mut self, backend: usize) -> Got {
        let mut all = self.requests(backend);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Why frames of callers, and of services, were refused.
    pub(super) fn refused(&self, frames: &str, replies: &str) {
        use sluice_stack::counters::Counted;
        for (counters, expected) in [
            (&self.stats.refused_frames, frames),
            (&self.stats.refused_replies, replies),
        ] {
            let counted = counters.iter().filter(|(_, n)| *n > 0);
            let counted: Vec<String> = counted
                .map(|(reason, n)| match n {
                    1 => reason.name().to_owned(),
                    n => format!("{} {n}", reason.name()),
                })
                .collect();
            assert_eq!(counted.join(", "), expected);
        }
    }

    /// The counters of RPCs that are not 0.
    pub(super) fn rpc_counts(&self, expected: &str) {
        use sluice_stack::counters::Counted;
        let mut counted: Vec<String> = self
            .stats
            .rpc
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(event, n)| match n {
                1 => event.name().to_owned(),
                n => format!("{} {n}", event.name()),
            })
            .collect();
        counted.sort();
        let mut wanted: Vec<String> = expected.split(", ").map(str::to_owned).collect();
        wanted.retain(|entry| !entry.is_empty());
        wanted.sort();
        assert_eq!(counted, wanted);
    }
}

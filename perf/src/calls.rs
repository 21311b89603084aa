//! Remote procedure calls through a gateway in memory: callers, one call at a time or several, and a
//! service that echoes what it is sent.

use sluice_engine::Worker;
use sluice_stack::sim::SimPort;
use sluice_stack::time::Instant;
use sluice_wire::Parsed;
use sluice_wire::thrift::{self, MessageHead, MessageKind};
use sluice_wire::ttheader::{Flags, Head, Limits, NewHead, integer};

use crate::memory::Setup;
use crate::scripted::Scripted;

/// A call as Kitex sends it: some 200 bytes, 8 keys.
pub fn call(sequence: i32, body: &[u8]) -> Vec<u8> {
    let integers: [(u16, &[u8]); 6] = [
        (integer::FROM_SERVICE, b"svc.caller"),
        (integer::TO_SERVICE, b"svc.echo"),
        (integer::TO_METHOD, b"echo"),
        (integer::RPC_TIMEOUT, b"1000"),
        (integer::MSG_TYPE, b"1"),
        (integer::LOG_ID, b"20261125170000010077001002"),
    ];
    let strings: [(&[u8], &[u8]); 2] = [(b"isn", b"EchoService"), (b"RPC_PERSIST_USER", b"u1")];
    let sequences = (sequence, sequence);
    frame(MessageKind::Call, sequences, (&strings, &integers), body)
}

/// String keys, then integer keys.
type Keys<'a> = (&'a [(&'a [u8], &'a [u8])], &'a [(u16, &'a [u8])]);

fn frame(
    kind: MessageKind,
    (sequence, message_sequence): (i32, i32),
    (strings, integers): Keys<'_>,
    body: &[u8],
) -> Vec<u8> {
    let mut message = vec![0x80, 1, 0, kind as u8, 0, 0, 0, 4];
    message.extend_from_slice(b"echo");
    message.extend_from_slice(&message_sequence.to_be_bytes());
    message.extend_from_slice(&[0x0b, 0, 1]);
    message.extend_from_slice(&(body.len() as u32).to_be_bytes());
    message.extend_from_slice(body);
    message.push(0);
    let head = NewHead {
        flags: Flags::OUT_OF_ORDER,
        sequence,
        strings,
        integers,
        ..NewHead::default()
    };
    let mut out = Vec::new();
    // Such a head is never too large.
    let _ = head.write(&mut out, message.len());
    out.extend_from_slice(&message);
    out
}

/// A frame that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The sequence of the frame.
    pub frame: i32,
    /// That of the message.
    pub message: i32,
    /// What the message is.
    pub kind: MessageKind,
    /// The string that it carries.
    pub body: Vec<u8>,
}

impl Seen {
    /// The reply of a server with the same string: one that goes by the sequence of the frame, or one
    /// that goes by that of the message.
    pub fn echo(&self, by_frame: bool) -> Vec<u8> {
        let integers: [(u16, &[u8]); 1] = [(integer::MSG_TYPE, b"2")];
        let frame_sequence = if by_frame { self.frame } else { self.message };
        frame(
            MessageKind::Reply,
            (frame_sequence, self.message),
            (&[], &integers),
            &self.body,
        )
    }
}

/// Takes the frame at the front of `bytes`; `None` while it is not complete.
///
/// # Errors
/// What stands there is no frame.
pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Seen>, String> {
    let limits = Limits {
        frame: 64 << 20,
        ..Limits::default()
    };
    let head = match Head::parse(bytes, &limits).map_err(|error| error.to_string())? {
        Parsed::Complete(head) => head,
        Parsed::Incomplete { .. } => return Ok(None),
    };
    let (start, len) = (head.bytes().len(), head.frame_len());
    let Some(payload) = bytes.get(start..len) else {
        return Ok(None);
    };
    let message = MessageHead::parse(payload, &thrift::Limits::default());
    let message = message.map_err(|error| error.to_string())?;
    let message = message.complete().ok_or("a message cut short")?;
    let body = payload.get(message.bytes().len()..).unwrap_or_default();
    let text = match message.kind {
        // Behind its text comes its type.
        MessageKind::Exception => body.get(7..body.len().max(15) - 8),
        _ => body.get(7..body.len().max(8) - 1),
    };
    let text = text.unwrap_or_default();
    let seen = Seen {
        frame: head.sequence(),
        message: message.sequence,
        kind: message.kind,
        body: text.to_vec(),
    };
    bytes.drain(..len);
    Ok(Some(seen))
}

/// Callers that each have one call under way, and a service that answers at once.
pub struct Calls {
    /// The gateway between its hosts.
    pub scripted: Scripted,
    callers: Vec<usize>,
    asked: Vec<Vec<u8>>,
    request: Vec<u8>,
    by_frame: bool,
    /// Calls that were answered rightly.
    pub answered: u64,
}

impl Calls {
    /// So many callers of a service with these settings.
    ///
    /// # Errors
    /// The rules don't compile: the problems as text.
    pub fn new(callers: usize, service: &str) -> Result<Self, String> {
        let setup = Setup::default();
        let text = format!(
            r#"
ports:
  front: {{ device: "net_memory0", addresses: ["10.77.1.1/24"] }}
  back: {{ device: "net_memory1", addresses: ["10.77.2.1/24"] }}
listeners:
  rpc: {{ address: "10.77.1.1:80", max_connections: 100000 }}
services:
  echo: {{ endpoints: ["10.77.2.2:8080"], {service} }}
routes:
  - {{ rpc: {{ service: svc.echo }}, service: echo }}
"#
        );
        let mut scripted = Scripted::new(&setup, &text)?;
        let (to, buffers, now) = (scripted.target, scripted.buffers, scripted.now());
        let callers = (0..callers).filter_map(|_| scripted.client.open(to, buffers, now));
        let callers = callers.collect();
        scripted.settle();
        Ok(Calls {
            scripted,
            callers,
            asked: Vec::new(),
            request: call(7, b"hello"),
            by_frame: service.contains("frame"),
            answered: 0,
        })
    }

    /// Has each caller make one call, and waits for all replies. `poll` is how the gateway works.
    ///
    /// # Panics
    /// A reply is not the right one.
    pub fn round(&mut self, mut poll: impl FnMut(&mut Worker<SimPort>, Instant)) {
        let now = self.scripted.now();
        for &caller in &self.callers {
            self.scripted.client.send(caller, &self.request, now);
        }
        let wanted = self.answered + self.callers.len() as u64;
        while self.answered < wanted {
            self.scripted.client.poll_once(now);
            poll(&mut self.scripted.worker, now);
            self.scripted.backend.poll_once(now);
            self.serve(now);
            poll(&mut self.scripted.worker, now);
            self.scripted.client.poll_once(now);
            self.check();
        }
        self.scripted
            .net
            .advance_to(now + std::time::Duration::from_micros(50));
    }

    fn serve(&mut self, now: Instant) {
        let backend = &mut self.scripted.backend;
        self.asked.resize(backend.connections(), Vec::new());
        for (connection, asked) in self.asked.iter_mut().enumerate() {
            if backend.received(connection).is_empty() {
                continue;
            }
            asked.append(&mut backend.take(connection));
            while let Some(seen) = take(asked).unwrap_or_else(|error| panic!("{error}")) {
                backend.send(connection, &seen.echo(self.by_frame), now);
            }
        }
    }

    fn check(&mut self) {
        for &caller in &self.callers {
            if self.scripted.client.received(caller).is_empty() {
                continue;
            }
            let mut bytes = self.scripted.client.take(caller);
            let seen = take(&mut bytes).unwrap_or_else(|error| panic!("{error}"));
            let seen = seen.unwrap_or_else(|| panic!("half a reply"));
            let right = (seen.frame, seen.message, seen.kind) == (7, 7, MessageKind::Reply);
            assert!(
                right && seen.body == b"hello" && bytes.is_empty(),
                "{seen:?}"
            );
            self.answered += 1;
        }
    }
}

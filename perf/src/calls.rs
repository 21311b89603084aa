//! Remote procedure calls through a gateway in memory: callers, one call at a time or several, and a
//! service that echoes what it is sent.

use sluice_engine::Worker;
use sluice_stack::sim::SimPort;
use sluice_stack::time::Instant;
use sluice_wire::Parsed;
use sluice_wire::detect::{Protocol, detect};
use sluice_wire::thrift::{self, MessageHead, MessageKind, Skipper};
use sluice_wire::ttheader::{Flags, Head, Limits, MeshHeader, NewHead, integer};

use crate::memory::Setup;
use crate::scripted::Scripted;

/// What a frame is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// TTHeader.
    TtHeader,
    /// A Thrift message behind a MeshHeader.
    Mesh {
        /// With a frame of Thrift around the message.
        framed: bool,
    },
    /// A Thrift message alone.
    Plain {
        /// With a frame of Thrift around it.
        framed: bool,
    },
}

/// String keys, then integer keys.
type Keys<'a> = (&'a [(&'a [u8], &'a [u8])], &'a [(u16, &'a [u8])]);

/// A call as Kitex sends it: with TTHeader some 200 bytes, 8 keys.
pub fn call(form: Form, sequence: i32, body: &[u8]) -> Vec<u8> {
    let integers: [(u16, &[u8]); 6] = [
        (integer::FROM_SERVICE, b"svc.caller"),
        (integer::TO_SERVICE, b"svc.echo"),
        (integer::TO_METHOD, b"echo"),
        (integer::RPC_TIMEOUT, b"1000"),
        (integer::MSG_TYPE, b"1"),
        (integer::LOG_ID, b"20261125170000010077001002"),
    ];
    let strings: [(&[u8], &[u8]); 2] = [(b"isn", b"EchoService"), (b"RPC_PERSIST_USER", b"u1")];
    let keys: Keys<'_> = (&strings, &integers);
    let framed = matches!(
        form,
        Form::Mesh { framed: true } | Form::Plain { framed: true }
    );
    let message = message(MessageKind::Call, sequence, body, framed);
    behind(form, sequence, keys, &message)
}

fn message(kind: MessageKind, sequence: i32, body: &[u8], framed: bool) -> Vec<u8> {
    let mut message = vec![0x80, 1, 0, kind as u8, 0, 0, 0, 4];
    message.extend_from_slice(b"echo");
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(&[0x0b, 0, 1]);
    message.extend_from_slice(&(body.len() as u32).to_be_bytes());
    message.extend_from_slice(body);
    message.push(0);
    if framed {
        let length = message.len() as u32;
        message.splice(..0, length.to_be_bytes());
    }
    message
}

/// The message behind a head of this form; a MeshHeader has the string keys alone.
fn behind(form: Form, sequence: i32, (strings, integers): Keys<'_>, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match form {
        Form::TtHeader => {
            let head = NewHead {
                flags: Flags::OUT_OF_ORDER,
                sequence,
                strings,
                integers,
                ..NewHead::default()
            };
            // Such a head is never too large.
            let _ = head.write(&mut out, message.len());
        }
        Form::Mesh { .. } => {
            let mut pairs = (strings.len() as u16).to_be_bytes().to_vec();
            for text in strings.iter().flat_map(|(key, value)| [key, value]) {
                pairs.extend_from_slice(&(text.len() as u16).to_be_bytes());
                pairs.extend_from_slice(text);
            }
            out.extend_from_slice(&[0xff, 0xaf]);
            out.extend_from_slice(&(pairs.len() as u16).to_be_bytes());
            out.append(&mut pairs);
        }
        Form::Plain { .. } => {}
    }
    out.extend_from_slice(message);
    out
}

/// A frame that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it was written in.
    pub form: Form,
    /// The sequence of the frame; without TTHeader that of the message.
    pub frame: i32,
    /// That of the message.
    pub message: i32,
    /// What the message is.
    pub kind: MessageKind,
    /// The string that it carries.
    pub body: Vec<u8>,
}

impl Seen {
    /// The reply of a server with the same string, in the same form: one that goes by the sequence of the
    /// frame, or one that goes by that of the message; with a frame of Thrift around the message or without.
    pub fn echo(&self, by_frame: bool, framed: bool) -> Vec<u8> {
        let integers: [(u16, &[u8]); 1] = [(integer::MSG_TYPE, b"2")];
        let sequence = if by_frame { self.frame } else { self.message };
        let message = message(MessageKind::Reply, self.message, &self.body, framed);
        behind(self.form, sequence, (&[], &integers), &message)
    }
}

/// Takes the frame at the front of `bytes`, of whichever form; `None` while it is not complete.
///
/// # Errors
/// What stands there is no frame.
pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Seen>, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let limits = Limits {
        frame: 64 << 20,
        ..Limits::default()
    };
    let (head_len, frame, own) = match detect(bytes) {
        None => return Ok(None),
        Some(Protocol::TtHeader) => match Head::parse(bytes, &limits).map_err(|e| text(&e))? {
            Parsed::Complete(head) => {
                let sequence = head.sequence();
                (head.bytes().len(), Some(sequence), Some(head.frame_len()))
            }
            Parsed::Incomplete { .. } => return Ok(None),
        },
        Some(Protocol::MeshHeader) => {
            match MeshHeader::length(bytes, &limits).map_err(|e| text(&e))? {
                Parsed::Complete(len) => (len, None, None),
                Parsed::Incomplete { .. } => return Ok(None),
            }
        }
        Some(_) => (0, None, None),
    };
    let Some(payload) = bytes.get(head_len..own.unwrap_or(bytes.len())) else {
        return Ok(None);
    };
    let head = match MessageHead::parse(payload, &thrift::Limits::default()) {
        Ok(Parsed::Complete(head)) => head,
        Ok(Parsed::Incomplete { .. }) if own.is_none() => return Ok(None),
        Ok(Parsed::Incomplete { .. }) => return Err("a message cut short".into()),
        Err(error) => return Err(error.to_string()),
    };
    let body = payload.get(head.bytes().len()..).unwrap_or_default();
    let body_len = match (own, head.framed_len()) {
        (Some(_), _) => Some(body.len()),
        (None, Some(len)) => Some(len - head.bytes().len()),
        (None, None) => Skipper::new(head.protocol, 64 << 20)
            .ok_or("nothing tells its end")?
            .advance(body)
            .map_err(|e| text(&e))?,
    };
    let Some(body) = body_len.and_then(|len| body.get(..len)) else {
        return Ok(None);
    };
    let said = match head.kind {
        // Behind its text comes its type.
        MessageKind::Exception => body.get(7..body.len().max(15) - 8),
        _ => body.get(7..body.len().max(8) - 1),
    };
    let framed = head.frame.is_some();
    let seen = Seen {
        form: match (frame, head_len) {
            (Some(_), _) => Form::TtHeader,
            (None, 0) => Form::Plain { framed },
            (None, _) => Form::Mesh { framed },
        },
        frame: frame.unwrap_or(head.sequence),
        message: head.sequence,
        kind: head.kind,
        body: said.unwrap_or_default().to_vec(),
    };
    let len = head_len + head.bytes().len() + body.len();
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
            request: call(Form::TtHeader, 7, b"hello"),
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
                backend.send(connection, &seen.echo(self.by_frame, false), now);
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

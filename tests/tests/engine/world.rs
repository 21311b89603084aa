//! A client, the gateway and a backend, and short words for what happens between them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::WorkerStats;
use sluice_engine::stats::EngineEvent;
use sluice_perf::memory::Setup;
use sluice_perf::scripted::Scripted;
use sluice_stack::counters::Counted;

/// Bytes of every buffer: the smallest there are, so that rings wrap and fill soon.
pub(crate) const BUFFER: usize = 16 * 1024;

/// An answer without a body worth mentioning.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What of the rules differs between tests.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) listener: String,
    pub(crate) endpoints: &'static str,
    pub(crate) service: String,
    pub(crate) routes: String,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            listener: r#"web: { address: "10.77.1.1:80", buffer: 16KiB, request_id: false }"#
                .into(),
            endpoints: r#"["10.77.2.2:8080"]"#,
            service: "max_idle: 10".into(),
            routes: "{ host: sluice.test, path: /, service: hello }".into(),
        }
    }
}

impl Rules {
    pub(crate) const BOTH: &'static str = r#"["10.77.2.2:8080", "10.77.2.3:8080"]"#;

    /// With these settings of the listener.
    pub(crate) fn listener(settings: &str) -> Rules {
        Rules {
            listener: format!(
                r#"web: {{ address: "10.77.1.1:80", buffer: 16KiB, request_id: false, {settings} }}"#
            ),
            ..Rules::default()
        }
    }

    /// With these settings of the service, and one endpoint.
    pub(crate) fn service(settings: &str) -> Rules {
        Rules {
            service: settings.into(),
            ..Rules::default()
        }
    }

    pub(crate) fn endpoints(self, endpoints: &'static str) -> Rules {
        Rules { endpoints, ..self }
    }

    pub(crate) fn text(&self) -> String {
        format!(
            r#"
ports:
  back: {{ device: "net_memory1", addresses: ["10.77.2.1/24"] }}
  front: {{ device: "net_memory0", addresses: ["10.77.1.1/24"] }}
listeners:
  {}
services:
  hello: {{ endpoints: {}, {} }}
routes:
  - {}
"#,
            self.listener, self.endpoints, self.service, self.routes
        )
    }
}

/// See [`Scripted`].
pub(crate) struct World(Scripted);

impl Deref for World {
    type Target = Scripted;
    fn deref(&self) -> &Scripted {
        &self.0
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Scripted {
        &mut self.0
    }
}

impl World {
    pub(crate) fn new() -> World {
        World::with(&Rules::default())
    }

    pub(crate) fn with(rules: &Rules) -> World {
        World::set_up(&setup(), &rules.text())
    }

    pub(crate) fn set_up(setup: &Setup, rules: &str) -> World {
        let scripted = Scripted::new(setup, rules);
        World(scripted.unwrap_or_else(|problems| panic!("{problems}")))
    }

    /// Opens a client connection.
    pub(crate) fn open(&mut self) -> usize {
        let (to, buffers, now) = (self.target, self.buffers, self.now());
        let client = self.client.open(to, buffers, now);
        self.settle();
        client.expect("the client has a source port")
    }

    /// Has a client send, and lets everything happen that follows from it.
    pub(crate) fn send(&mut self, client: usize, bytes: impl AsRef<[u8]>) {
        let now = self.now();
        self.client.send(client, bytes.as_ref(), now);
        self.settle();
    }

    /// Has the backend send.
    pub(crate) fn answer(&mut self, backend: usize, bytes: impl AsRef<[u8]>) {
        let now = self.now();
        self.backend.send(backend, bytes.as_ref(), now);
        self.settle();
    }

    /// Sends a client's FIN.
    pub(crate) fn finish(&mut self, client: usize) {
        let now = self.now();
        self.client.finish(client, now);
        self.settle();
    }

    /// Sends the backend's FIN.
    pub(crate) fn finish_backend(&mut self, backend: usize) {
        let now = self.now();
        self.backend.finish(backend, now);
        self.settle();
    }

    pub(crate) fn reset(&mut self, client: usize) {
        let now = self.now();
        self.client.reset(client, now);
        self.settle();
    }

    pub(crate) fn reset_backend(&mut self, backend: usize) {
        let now = self.now();
        self.backend.reset(backend, now);
        self.settle();
    }

    /// What a client got since last asked.
    pub(crate) fn got(&mut self, client: usize) -> String {
        String::from_utf8_lossy(&self.client.take(client)).into_owned()
    }

    /// What the backend got on a connection since last asked.
    pub(crate) fn asked(&mut self, backend: usize) -> String {
        String::from_utf8_lossy(&self.backend.take(backend)).into_owned()
    }

    pub(crate) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// A request and its answer, on the backend's connection `backend`.
    pub(crate) fn exchange(&mut self, client: usize, backend: usize, path: &str) {
        self.send(client, get(path));
        assert_eq!(self.asked(backend), forwarded(&format!("GET {path}"), ""));
        self.answer(backend, OK);
        assert_eq!(self.got(client), OK);
    }

    /// Everything that was counted since the start: events, fates of requests, statuses.
    pub(crate) fn counts(&self, expected: &str) {
        let mut wanted = BTreeMap::new();
        for entry in expected.split(',').filter(|e| !e.trim().is_empty()) {
            let mut words = entry.split_whitespace();
            let name = words.next().expect("a name").to_owned();
            let count: u64 = words.next().map_or(1, |n| n.parse().expect("a number"));
            wanted.insert(name, count);
        }
        let stats = &self.stats;
        let events = stats.events.iter().map(|(e, n)| (e.name().to_owned(), n));
        let fates = stats.requests.iter().map(|(f, n)| (f.name().to_owned(), n));
        let statuses = stats.statuses.iter().map(|(s, n)| (s.to_string(), n));
        let counted: BTreeMap<_, _> = events
            .chain(fates)
            .chain(statuses)
            .filter(|(_, n)| *n > 0)
            .collect();
        assert_eq!(counted, wanted);
    }

    /// The present levels: client connections, connections to endpoints, idle ones among them,
    /// exchanges.
    pub(crate) fn levels(&self) -> [u64; 4] {
        let stats = &self.stats;
        [
            &stats.downstream,
            &stats.upstream,
            &stats.upstream_idle,
            &stats.exchanges,
        ]
        .map(|gauge| gauge.get())
    }

    /// Ends all connections; nothing may be left of anything.
    pub(crate) fn over(self) {
        let stats = self.ended();
        let statuses: u64 = stats.statuses.iter().map(|(_, n)| n).sum();
        assert_eq!(
            stats.requests.sum(),
            statuses,
            "each request has one fate and one status"
        );
    }

    /// The same for RPCs, whose answers have no status.
    pub(crate) fn rpc_over(self) {
        self.ended();
    }

    fn ended(mut self) -> Arc<WorkerStats> {
        let now = self.now();
        self.client.close_all(now);
        self.backend.close_all(now);
        self.seconds(100);
        let stats = &self.stats;
        assert_eq!(self.levels(), [0; 4], "{stats:?}");
        let left = [
            &stats.stack.flows,
            &stats.stack.half_open,
            &stats.stack.time_wait,
        ]
        .map(|gauge| gauge.get());
        assert_eq!(left, [0; 3], "{stats:?}");
        let event = |event| stats.events.get(event);
        assert_eq!(
            event(EngineEvent::DownstreamOpened),
            event(EngineEvent::DownstreamClosed)
        );
        assert_eq!(
            event(EngineEvent::UpstreamOpened),
            event(EngineEvent::UpstreamClosed)
        );
        stats.clone()
    }
}

pub(crate) fn setup() -> Setup {
    Setup {
        buffer: BUFFER,
        // Buffers stay as they are: tests are about what does not fit.
        window: 0,
        ..Setup::default()
    }
}

/// A plain request.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: sluice.test\r\n\r\n")
}

/// How a request with these fields reaches the backend.
pub(crate) fn forwarded(request: &str, fields: &str) -> String {
    format!(
        "{request} HTTP/1.1\r\nHost: sluice.test\r\n{fields}X-Forwarded-For: 10.77.1.2\r\n\
         Via: 1.1 sluice\r\nX-Forwarded-Proto: http\r\n\r\n"
    )
}

/// An answer of the gateway's own.
pub(crate) fn local(status: &str, text: &str, close: bool) -> String {
    let connection = if close { "Connection: close\r\n" } else { "" };
    let mut reply = format!(
        "HTTP/1.1 {status}\r\nServer: sluice\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n{connection}\r\n",
        text.len() + 1
    );
    let _ = writeln!(reply, "{text}");
    reply
}

/// Bytes in which no two places look alike.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 31 + i / 251 + i / 65_000) as u8)
        .collect()
}

/// `body` in chunks of these sizes, over and over.
pub(crate) fn chunked(body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    for &size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, later) = rest.split_at(size.min(rest.len()));
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        rest = later;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// The payload of a chunked body, which must be whole and alone.
pub(crate) fn unchunked(bytes: &[u8]) -> Vec<u8> {
    use sluice_wire::http1::{BodyDecoder, BodyEvent, BodyFraming};
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
    let (mut rest, mut body) = (bytes, Vec::new());
    loop {
        let consumed = match decoder.next(rest).expect("valid chunks") {
            BodyEvent::Data { len } => {
                body.extend_from_slice(&rest[..len]);
                decoder.take_data(len);
                len
            }
            BodyEvent::ChunkStart { consumed, .. }
            | BodyEvent::ChunkEnd { consumed }
            | BodyEvent::Trailers { consumed, .. } => consumed,
            BodyEvent::NeedMore => panic!("the body is not whole"),
            BodyEvent::Done => break,
        };
        rest = &rest[consumed..];
    }
    assert!(rest.is_empty(), "bytes behind the body");
    body
}

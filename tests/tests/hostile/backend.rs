//! A backend that keeps the exact bytes of every connection, and a strict reading of them that
//! shares no code with the gateway.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sluice_tests::lab::Lab;

use crate::BACKEND;

/// Longest a connection that ended in the middle of a request may take to be seen as ended.
const END_WITHIN: Duration = Duration::from_secs(2);

/// How a backend answers a request.
pub(crate) type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The bytes of an answer, and whether the connection ends after them.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) close: bool,
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    /// All of the head before its empty line; or what came, where none came.
    pub(crate) head: String,
    /// The body, out of its framing.
    pub(crate) body: String,
    /// The trailer section.
    pub(crate) trailers: String,
    /// Head and body came to their end.
    pub(crate) whole: bool,
    /// What no request must have that a gateway lets through.
    pub(crate) faults: Vec<&'static str>,
}

impl Asked {
    /// The request line's part `nth`.
    pub(crate) fn word(&self, nth: usize) -> &str {
        let line = self.head.split("\r\n").next().unwrap_or_default();
        line.split(' ').nth(nth).unwrap_or("?")
    }

    /// Method, target, what is not as usual, and the body: one line for a table.
    pub(crate) fn shown(&self) -> String {
        let mut shown = format!("{} {}", self.word(0), brief(self.word(1)));
        if !self.fields().any(|(name, _)| name == "host") {
            shown += " without host";
        }
        for (name, value) in self.fields() {
            if name == "host" && value != "a.test" {
                shown += &format!(" host={}", brief(value));
            } else if name.starts_with("x-c") || name.contains('_') {
                shown += &format!(" {name}={}", brief(value));
            }
        }
        if !self.body.is_empty() {
            shown += &format!(" \"{}\"", brief(&self.body));
        }
        if !self.trailers.is_empty() {
            shown += &format!(" trailers=\"{}\"", brief(&self.trailers));
        }
        if !self.whole {
            shown += " (cut)";
        }
        for fault in &self.faults {
            shown += &format!(" !{fault}");
        }
        shown
    }

    fn fields(&self) -> impl Iterator<Item = (String, &str)> {
        let lines = self.head.split("\r\n").skip(1);
        lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])))
        })
    }

    fn values(&self, wanted: &str) -> Vec<String> {
        let fields = self.fields().filter(|(name, _)| name == wanted);
        fields.map(|(_, value)| value.to_owned()).collect()
    }
}

#[derive(Debug)]
struct Taken {
    stream: TcpStream,
    bytes: Vec<u8>,
    ended: bool,
}

type Connections = Arc<Mutex<Vec<Taken>>>;

/// A running backend. Dropping it ends its connections.
pub(crate) struct Backend {
    connections: Connections,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Backend {
    /// Starts in a lab, on [`BACKEND`].
    pub(crate) fn start(lab: &Lab, answer: Arc<Answer>) -> Backend {
        let listener = lab.listen(BACKEND);
        let connections = Connections::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (connections.clone(), stop.clone());
        let accepting = thread::spawn(move || accept(&listener, &shared, &stopped, &answer));
        Backend {
            connections,
            stop,
            accepting: Some(accepting),
        }
    }

    /// Takes all requests since the last call, in the order of their connections. Waits until
    /// connections that stand in the middle of a request have ended.
    pub(crate) fn take(&self) -> Vec<Asked> {
        let deadline = Instant::now() + END_WITHIN;
        loop {
            let mut connections = lock(&self.connections);
            let pending = connections.iter().any(|taken| {
                !taken.ended && read_requests(&taken.bytes).iter().any(|asked| !asked.whole)
            });
            if pending && Instant::now() < deadline {
                drop(connections);
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            let mut all = Vec::new();
            for taken in connections.iter_mut() {
                all.extend(read_requests(&taken.bytes));
                taken.bytes.clear();
                if pending {
                    // Nobody ended it: its next request would be read as part of this one.
                    let _ = taken.stream.shutdown(Shutdown::Both);
                }
            }
            connections.retain(|taken| !taken.ended);
            return all;
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for taken in lock(&self.connections).iter() {
            let _ = taken.stream.shutdown(Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn lock(connections: &Connections) -> MutexGuard<'_, Vec<Taken>> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Connections, stop: &AtomicBool, answer: &Arc<Answer>) {
    listener
        .set_nonblocking(true)
        .expect("cannot make the listener non-blocking");
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let (shared, answer) = (shared.clone(), answer.clone());
                thread::spawn(move || serve(stream, &shared, &*answer));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("cannot accept: {error}"),
        }
    }
}

/// Records what comes, and answers each request when it is whole.
fn serve(mut stream: TcpStream, shared: &Connections, answer: &Answer) {
    stream
        .set_nonblocking(false)
        .expect("cannot make the connection blocking");
    let id = stream.peer_addr();
    let copy = stream.try_clone().expect("cannot share a connection");
    lock(shared).push(Taken {
        stream: copy,
        bytes: Vec::new(),
        ended: false,
    });
    let mine = |taken: &&mut Taken| {
        !taken.ended && taken.stream.peer_addr().ok() == id.as_ref().ok().copied()
    };
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        let bytes = buffer.get(..count).unwrap_or_default();
        let mut replies = Vec::new();
        {
            let mut connections = lock(shared);
            let Some(taken) = connections.iter_mut().find(mine) else {
                return;
            };
            if count == 0 {
                taken.ended = true;
                return;
            }
            let before = read_requests(&taken.bytes)
                .iter()
                .filter(|asked| asked.whole)
                .count();
            taken.bytes.extend(bytes);
            let requests = read_requests(&taken.bytes);
            for asked in requests.iter().filter(|asked| asked.whole).skip(before) {
                replies.push(answer(asked));
            }
        }
        for reply in replies {
            let sent = stream.write_all(&reply.bytes);
            if reply.close || sent.is_err() {
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
    }
}

/// The requests in a connection's bytes, read as strictly as RFC 9112 allows. What follows one that
/// did not come to its end is part of it.
fn read_requests(mut bytes: &[u8]) -> Vec<Asked> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (asked, rest) = read_request(bytes);
        let whole = asked.whole;
        all.push(asked);
        if !whole {
            break;
        }
        bytes = rest;
    }
    all
}

fn read_request(bytes: &[u8]) -> (Asked, &[u8]) {
    let mut asked = Asked::default();
    let Some((head, mut rest)) = split(bytes, b"\r\n\r\n") else {
        asked.head = text(bytes);
        return (asked, &[]);
    };
    asked.head = text(head);
    asked.faults = head_faults(head);
    let lengths = asked.values("content-length");
    let encodings = asked.values("transfer-encoding");
    if !lengths.is_empty() && !encodings.is_empty() {
        asked.faults.push("both framings");
    }
    if lengths.len() > 1 || encodings.len() > 1 {
        asked.faults.push("repeated framing");
    }
    if let Some(encoding) = encodings.first() {
        if encoding != "chunked" {
            asked.faults.push("transfer coding");
        }
        match read_chunks(&mut rest) {
            Ok(Some((body, trailers))) => {
                (asked.body, asked.trailers, asked.whole) = (text(&body), text(trailers), true);
            }
            Ok(None) => {}
            Err(fault) => asked.faults.push(fault),
        }
    } else {
        let length = match lengths.first() {
            Some(length) if length.bytes().all(|b| b.is_ascii_digit()) => length.parse().ok(),
            Some(_) => None,
            None => Some(0),
        };
        let Some(length) = length else {
            asked.faults.push("length");
            return (asked, &[]);
        };
        let (body, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        asked.whole = body.len() == length;
        asked.body = text(body);
        rest = after;
    }
    (asked, rest)
}

fn head_faults(head: &[u8]) -> Vec<&'static str> {
    let mut faults = Vec::new();
    let mut bare = |fault| {
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    };
    for (at, &byte) in head.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| head.get(at));
        match byte {
            b'\n' if before != Some(&b'\r') => bare("bare LF"),
            b'\r' if head.get(at + 1) != Some(&b'\n') => bare("bare CR"),
            b'\r' | b'\n' | b'\t' => {}
            0..=0x1f | 0x7f => bare("control byte"),
            _ => {}
        }
    }
    let text = text(head);
    let mut lines = text.split("\r\n");
    let words: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    if words.len() != 3
        || !words
            .iter()
            .any(|word| ["HTTP/1.1", "HTTP/1.0"].contains(word))
    {
        bare("request line");
    }
    for line in lines {
        let name = line.split(':').next().unwrap_or_default();
        if line.starts_with([' ', '\t']) {
            bare("folded line");
        } else if name == line || name.is_empty() || name.contains([' ', '\t']) {
            bare("header name");
        }
    }
    faults
}

/// Body and trailers; nothing where more has to come.
#[allow(clippy::type_complexity, reason = "a pair, named by the caller")]
fn read_chunks<'a>(rest: &mut &'a [u8]) -> Result<Option<(Vec<u8>, &'a [u8])>, &'static str> {
    let mut body = Vec::new();
    loop {
        let Some((line, after)) = split(rest, b"\r\n") else {
            return Ok(None);
        };
        if line.is_empty() || line.len() > 16 || !line.iter().all(u8::is_ascii_hexdigit) {
            return Err("chunk size");
        }
        let size = usize::from_str_radix(&text(line), 16).map_err(|_| "chunk size")?;
        if size == 0 {
            // The trailer section ends in an empty line, and may be one.
            let trailers = match after.strip_prefix(b"\r\n") {
                Some(end) => Some((&after[..0], end)),
                None => split(after, b"\r\n\r\n"),
            };
            let Some((trailers, end)) = trailers else {
                return Ok(None);
            };
            *rest = end;
            return Ok(Some((body, trailers)));
        }
        let Some((data, after)) = after.split_at_checked(size) else {
            return Ok(None);
        };
        body.extend(data);
        if after.len() < 2 {
            return Ok(None);
        }
        *rest = after.strip_prefix(b"\r\n").ok_or("chunk end")?;
    }
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let start = bytes.windows(at.len()).position(|window| window == at)?;
    Some((bytes.get(..start)?, bytes.get(start + at.len()..)?))
}

/// Printable, and where it is long its beginning and how much there is.
fn brief(text: &str) -> String {
    match text.char_indices().nth(120) {
        None => text.escape_default().to_string(),
        Some(_) => {
            let start: String = text.chars().take(12).collect();
            format!("{}... ({})", start.escape_default(), text.chars().count())
        }
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

#[test]
fn the_backend_sees_what_is_wrong() {
    let shown = |bytes: &str| {
        let all = read_requests(bytes.as_bytes());
        all.iter().map(Asked::shown).collect::<Vec<_>>().join(" + ")
    };
    let host = "Host: a.test\r\n";
    for (bytes, expected) in [
        (format!("GET / HTTP/1.1\r\n{host}\r\n"), "GET /"),
        (
            format!("GET / HTTP/1.1\r\n{host}\r\nGET /2"),
            "GET / + GET /2 without host (cut)",
        ),
        (format!("GET / HTTP/1.1\n{host}\r\n"), "GET /?"),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 2\r\n\r\nab"),
            "POST / \"ab\"",
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\nab"),
            "POST / \"ab\" (cut)",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\
                 Content-Length: 2\r\n\r\n2\r\nab\r\n0\r\nX: 1\r\n\r\n"
            ),
            "POST / \"ab\" trailers=\"X: 1\" !both framings",
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n2;a\r\nab\r\n"),
            "POST / (cut) !chunk size",
        ),
    ] {
        if expected == "GET /?" {
            assert!(shown(&bytes).contains("!bare LF"), "{}", shown(&bytes));
        } else {
            assert_eq!(shown(&bytes), expected);
        }
    }
}

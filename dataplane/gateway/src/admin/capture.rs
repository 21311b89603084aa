//! `GET /capture`: chosen frames as a pcapng file that grows while they pass. `DELETE /capture`: the
//! end of that. docs/capture.md is for those who use it.

mod pcapng;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use sluice_engine::stack::io::L2_MAX;
use sluice_engine::stack::tap::{Captured, Direction, TapFilter, TapQueue};
use tokio::time::{Instant, sleep};

use super::View;
use super::query::{Query, QueryError};
use crate::wall::Wall;

/// Copies on their way from the worker: memory for them, and their number.
const QUEUE_BYTES: usize = 8 << 20;
const QUEUE_FRAMES: std::ops::RangeInclusive<usize> = 256..=4096;

/// How often the worker's copies are fetched: a queue of small frames holds what comes at 2 Mpps.
const FETCH_EVERY: Duration = Duration::from_millis(2);

/// Bytes that are handed to the connection at a time.
const CHUNK: usize = 64 * 1024;

/// How often a capture's time is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often it is looked whether the worker and the client's connection are done with a capture that
/// has ended: for a minute.
const LOOKS: u32 = 1200;

/// The capture that is under way, of which there is one at most.
#[derive(Debug, Default)]
pub(crate) struct Current(Mutex<Weak<TapQueue>>);

impl Current {
    /// Takes the place for a new capture; false while another has it.
    fn begin(&self, queue: &Arc<TapQueue>) -> bool {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if current.upgrade().is_some_and(|queue| !queue.is_closed()) {
            return false;
        }
        *current = Arc::downgrade(queue);
        true
    }

    /// Ends the capture under way; false where there is none.
    fn end(&self) -> bool {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = current.upgrade().filter(|queue| !queue.is_closed());
        running.inspect(|queue| queue.close()).is_some()
    }
}

/// What is to be captured, and how much at most.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    port: Option<u8>,
    filter: TapFilter,
    packets: u64,
    bytes: u64,
    seconds: u64,
    snaplen: usize,
}

impl Request {
    const PARAMETERS: &[&str] = &[
        "port",
        "host",
        "tcp-port",
        "direction",
        "packets",
        "bytes",
        "seconds",
        "snaplen",
    ];

    /// Reads a query, for ports of these names whose largest frame has `frame` bytes.
    fn parse(query: &str, ports: &[&str], frame: usize) -> Result<Self, QueryError> {
        let query = Query::parse(query, Self::PARAMETERS)?;
        let port = |name: &str| {
            let place = ports.iter().position(|port| *port == name)?;
            u8::try_from(place).ok()
        };
        let direction = |value: &str| match value {
            "in" => Some(Direction::In),
            "out" => Some(Direction::Out),
            _ => None,
        };
        let filter = TapFilter {
            host: query.get("host", "an IP address", |value| value.parse().ok())?,
            tcp_port: query.get("tcp-port", "a number from 1 to 65535", |value| {
                value.parse().ok().filter(|port| *port != 0)
            })?,
            direction: query.get("direction", "in or out", direction)?,
        };
        Ok(Request {
            port: query.get("port", format!("one of: {}", ports.join(", ")), port)?,
            filter,
            packets: query.number("packets", 1..=10_000_000, 10_000)?,
            bytes: query.number("bytes", 4096..=4 << 30, 64 << 20)?,
            seconds: query.number("seconds", 1..=3600, 60)?,
            snaplen: query.number("snaplen", 64..=65_535, 65_535)?.min(frame),
        })
    }

    fn queue(&self, ports: usize) -> TapQueue {
        let (fewest, most) = QUEUE_FRAMES.into_inner();
        let frames = (QUEUE_BYTES / self.snaplen.max(1)).clamp(fewest, most);
        TapQueue::new(frames, self.snaplen, self.packets, ports)
    }
}

/// `GET /capture`.
pub(super) async fn begin(State(view): State<Arc<View>>, RawQuery(query): RawQuery) -> Response {
    let refuse = |status: StatusCode, why: String| (status, format!("{why}\n")).into_response();
    let rules = view.rules();
    let ports = rules.iter().flat_map(|rules| &rules.ports);
    let mtu = ports.map(|port| usize::from(port.mtu)).max();
    let ports: Vec<&str> = view.ports.iter().map(|port| &*port.name).collect();
    let query = query.unwrap_or_default();
    let request = match Request::parse(&query, &ports, mtu.unwrap_or_default() + L2_MAX) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let queue = Arc::new(request.queue(ports.len()));
    if !view.capture.begin(&queue) {
        let why = "a capture is under way, and there is one at a time: wait for its end, or end it \
                   with DELETE /capture";
        return refuse(StatusCode::CONFLICT, why.into());
    }
    let asked = view.workers.iter().try_for_each(|worker| {
        let inspection = &worker.inspection;
        inspection.capture(request.port, request.filter, queue.clone())
    });
    if let Err(busy) = asked {
        queue.close();
        return refuse(StatusCode::SERVICE_UNAVAILABLE, busy.to_string());
    }
    tokio::spawn(watch_over(
        queue.clone(),
        Duration::from_secs(request.seconds),
    ));
    let running = Running::new(queue, view.wall, &request, &ports);
    let chunks = unfold(running, |mut running| async {
        let chunk = running.next_chunk().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), running))
    });
    let kind = [(CONTENT_TYPE, "application/x-pcapng")];
    (kind, Body::from_stream(chunks)).into_response()
}

/// `DELETE /capture`.
pub(super) async fn end(State(view): State<Arc<View>>) -> Response {
    if view.capture.end() {
        "the capture is ended\n".into_response()
    } else {
        (StatusCode::NOT_FOUND, "no capture is under way\n").into_response()
    }
}

/// Ends a capture when its time is over, even if its client has stopped reading. Then it waits for the
/// worker to let go of the queue, so that its memory is freed here and not on the data path.
async fn watch_over(queue: Arc<TapQueue>, time: Duration) {
    let end = Instant::now() + time;
    while !queue.is_closed() && Instant::now() < end {
        sleep(LOOK_EVERY).await;
    }
    queue.close();
    for _ in 0..LOOKS {
        if Arc::strong_count(&queue) == 1 {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A capture under way. It ends when it is dropped, which is what happens when the client goes away.
#[derive(Debug)]
struct Running {
    queue: Arc<TapQueue>,
    wall: Wall,
    /// What is to be sent next.
    out: Vec<u8>,
    /// Bytes that may still be written.
    left: u64,
    /// Packets written, by port.
    written: Vec<u64>,
    began: u64,
    /// The last timestamp; none is before it.
    last: u64,
    over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Running {
    fn new(queue: Arc<TapQueue>, wall: Wall, request: &Request, ports: &[&str]) -> Self {
        let mut out = Vec::with_capacity(CHUNK);
        let program = concat!("sluice ", env!("CARGO_PKG_VERSION"));
        pcapng::header(&mut out, program, ports, request.snaplen as u32);
        let began = nanos(SystemTime::now());
        Running {
            queue,
            wall,
            left: request.bytes.saturating_sub(out.len() as u64),
            out,
            written: vec![0; ports.len()],
            began,
            last: began,
            over: false,
        }
    }

    /// The next part of the file; `None` after the last.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        // The header goes out at once, so that whoever waits for the file sees that it has begun.
        while self.out.is_empty() {
            // Asked before the queue is emptied: what comes in between is not left behind.
            let ended = self.queue.is_closed() || self.queue.is_complete();
            if self.fetch() && ended {
                self.finish();
                break;
            }
            if self.out.is_empty() {
                sleep(FETCH_EVERY).await;
            }
        }
        let next = Vec::with_capacity(CHUNK);
        Some(Bytes::from(std::mem::replace(&mut self.out, next)))
    }

    /// Takes copies from the worker until there are no more, or a chunk is full; true in the first
    /// case. A capture that has all the bytes it may have is closed.
    fn fetch(&mut self) -> bool {
        // Anew each time: what was copied some milliseconds ago is told to within microseconds.
        let clocks = self.wall.read();
        while self.out.len() < CHUNK {
            let Some(frame) = self.queue.take() else {
                return true;
            };
            self.last = self.last.max(nanos(clocks.time(frame.at)));
            self.write(&frame);
            self.queue.give_back(frame);
        }
        false
    }

    fn write(&mut self, frame: &Captured) {
        let most = pcapng::packet_len(frame.bytes.len()) as u64;
        if most > self.left {
            self.left = 0;
            self.queue.close();
            return;
        }
        let before = self.out.len();
        pcapng::packet(&mut self.out, frame, self.last);
        self.left -= (self.out.len() - before) as u64;
        if let Some(written) = self.written.get_mut(usize::from(frame.port)) {
            *written += 1;
        }
    }

    /// Ends the file with what became of the frames of each port.
    fn finish(&mut self) {
        self.over = true;
        self.queue.close();
        let ended = self.last.max(nanos(SystemTime::now()));
        for (port, &written) in self.written.iter().enumerate() {
            let (_, lost) = self.queue.counts(port);
            let statistics = pcapng::Statistics {
                port: port as u32,
                written,
                lost,
                time: (self.began, ended),
            };
            pcapng::statistics(&mut self.out, &statistics);
        }
    }
}

/// Nanoseconds after 1970.
fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Request, String> {
        Request::parse(query, &["back", "front"], 1518).map_err(|error| error.to_string())
    }

    #[test]
    fn bounds_are_there_without_being_asked_for() {
        let expected = Request {
            port: None,
            filter: TapFilter::default(),
            packets: 10_000,
            bytes: 64 << 20,
            seconds: 60,
            snaplen: 1518,
        };
        assert_eq!(parse(""), Ok(expected));
    }

    #[test]
    fn every_parameter_is_read() {
        let query = "port=front&host=fd77:1::2&tcp-port=80&direction=out&packets=3&bytes=5000&\
                     seconds=2&snaplen=96";
        let expected = Request {
            port: Some(1),
            filter: TapFilter {
                host: "fd77:1::2".parse().ok(),
                tcp_port: Some(80),
                direction: Some(Direction::Out),
            },
            packets: 3,
            bytes: 5000,
            seconds: 2,
            snaplen: 96,
        };
        assert_eq!(parse(query), Ok(expected));
    }

    #[test]
    fn mistakes_are_said_with_what_would_be_right() {
        for (query, said) in [
            ("port=nowhere", "port=nowhere: must be one of: back, front"),
            (
                "host=example.com",
                "host=example.com: must be an IP address",
            ),
            ("tcp-port=0", "must be a number from 1 to 65535"),
            ("direction=up", "must be in or out"),
            ("seconds=3601", "must be a number from 1 to 3600"),
            ("filter=tcp", "there is no parameter \"filter\""),
        ] {
            let error = parse(query).unwrap_err();
            assert!(error.contains(said), "{query}: {error}");
        }
    }

    #[test]
    fn there_is_one_capture_at_a_time() {
        let (current, queue) = (Current::default(), || Arc::new(TapQueue::new(1, 64, 1, 1)));
        let (first, second) = (queue(), queue());
        assert!(!current.end());
        assert!(current.begin(&first));
        assert!(!current.begin(&second));
        assert!(current.end());
        assert!(first.is_closed());
        assert!(current.begin(&second));
        drop(second);
        assert!(current.begin(&first), "one that is gone is in nobody's way");
    }
}

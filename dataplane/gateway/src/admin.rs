//! The admin interface: plain HTTP on a kernel socket, off the data path.

mod capture;
mod flows;
mod history;
mod metrics;
mod query;
mod ready;
mod services;
mod text;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sluice_control_client::names::NamesView;
use sluice_policy::Snapshot;
use sluice_port::{Interface, Pool, Port, cycles};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::access_log::Totals;
use crate::control::Event;
use crate::links::Link;
use crate::log;
use crate::rates::Rates;
use crate::shared::Shared;
use crate::status::Status;
use crate::steering::SteeringTotals;
use crate::wall::Wall;

const PATHS: &str = "\
GET  /ready     200 while requests are served, otherwise 503 and why
GET  /metrics   counters, Prometheus text format
GET  /config    the rules in force and their generation, JSON
GET  /history   the generations of rules that can be gone back to, JSON
POST /rollback  go back to the rules before, or to those of a generation: ?to=N
GET  /services  services and their endpoints: connections, requests, failures, JSON
GET  /flows     TCP flows with state, owner, bytes, queues and round-trip time, JSON
GET  /capture   chosen frames as pcapng, until a bound is reached
DELETE /capture  end of the capture that is under way
POST /drain     let requests under way finish, then stop, as SIGTERM does
";

/// What the admin interface looks at.
pub(crate) struct View {
    /// Every port, in the order of the rules.
    pub(crate) ports: Vec<PortView>,
    /// Every worker, in the order of their numbers.
    pub(crate) workers: Vec<Shared>,
    /// What the control thread says.
    pub(crate) status: Arc<Status>,
    /// The capture that is under way.
    pub(crate) capture: capture::Current,
    /// What the names of endpoints stand for.
    pub(crate) names: NamesView,
    /// Requests per second.
    pub(crate) rates: Arc<Rates>,
    /// What became of the access log's lines.
    pub(crate) log_totals: Arc<Totals>,
    /// What time it is for the worker.
    pub(crate) wall: Wall,
    /// How the control thread is told something.
    pub(crate) events: SyncSender<Event>,
    /// Cycles of the time stamp counter per second.
    pub(crate) tsc_hz: u64,
}

impl View {
    /// The rules in force.
    fn rules(&self) -> Option<Arc<Snapshot>> {
        self.workers.first().map(|worker| worker.handoff.current())
    }
}

/// A port's counters and buffers.
pub(crate) struct PortView {
    /// Name in the rules.
    pub(crate) name: Arc<str>,
    /// The device.
    pub(crate) port: Port,
    /// Its pools, one per worker.
    pub(crate) pools: Vec<Pool>,
    /// Its link.
    pub(crate) link: Link,
    /// How its flows are steered, where there are several workers.
    pub(crate) steering: Option<Arc<SteeringTotals>>,
    /// The kernel's interface behind it, if there is one: held until the device is closed, so it is last.
    pub(crate) interface: Option<Arc<Interface>>,
}

/// The admin address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{}", explain(.address, .error))]
pub(crate) struct BindError {
    address: SocketAddr,
    error: io::Error,
}

fn explain(address: &SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    let mend = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program has it (see: ss -ltnp 'sport = :{port}'). Stop that, or set admin.address"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "it is no address of this machine. Set admin.address to one (see: ip address)".into()
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for root. Run with sudo, or set admin.address".into()
        }
        _ => "set admin.address to one that can be used".into(),
    };
    format!("admin address {address}: {error}; {mend}")
}

/// How long an address may stay in use: a gateway that was killed has it until the kernel is done with
/// giving back its memory.
const BIND_WITHIN: Duration = Duration::from_secs(2);

/// Binds the socket; connections wait until [`Admin::start`].
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let give_up_at = Instant::now() + BIND_WITHIN;
    let bound = loop {
        match TcpListener::bind(address) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up_at =>
            {
                thread::sleep(Duration::from_millis(20));
            }
            bound => break bound,
        }
    };
    let bound = bound.and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    bound.map_err(|error| BindError { address, error })
}

/// The thread that serves it.
pub(crate) struct Admin {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Admin {
    /// Starts to serve.
    pub(crate) fn start(socket: TcpListener, view: View) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            tokio::select! {
                served = axum::serve(socket, router(view)) => served,
                _ = stopped => Ok(()),
            }
        };
        let body = move || {
            if let Err(error) = runtime.block_on(serve) {
                log::warning(format_args!("admin: no longer served: {error}"));
            }
        };
        let thread = thread::Builder::new().name("admin".into()).spawn(body)?;
        Ok(Admin { thread, stop })
    }

    /// Stops, cutting off connections, and gives back what the view held.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(());
        // A panic in it was reported when it happened.
        let _ = self.thread.join();
    }
}

fn router(view: View) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .route("/history", get(history::list))
        .route("/rollback", post(history::roll_back))
        .route("/services", get(services))
        .route("/flows", get(flows::list))
        .route("/capture", get(capture::begin).delete(capture::end))
        .route("/drain", post(drain))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                format!("no such path; there are\n\n{PATHS}"),
            )
        })
        .with_state(Arc::new(view))
}

async fn ready(State(view): State<Arc<View>>) -> Response {
    let now = cycles();
    let loops = view.workers.iter().map(|worker| &worker.loop_stats);
    let ages: Vec<_> = loops.map(|stats| stats.age(now, view.tsc_hz)).collect();
    match ready::readiness(view.status.is_draining(), &ages) {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(view): State<Arc<View>>) -> Response {
    let text = metrics::render(&metrics::Reading::of(&view));
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

async fn config(State(view): State<Arc<View>>) -> Response {
    json_response(&view.status.rules())
}

async fn services(State(view): State<Arc<View>>) -> Response {
    let Some(rules) = view.rules() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let (names, clock) = (view.names.names(), view.wall.read());
    json_response(&services::services(&rules, &names, &view.rates, &clock))
}

async fn drain(State(view): State<Arc<View>>) -> Response {
    match view.events.try_send(Event::Stop("POST /drain")) {
        Ok(()) => (StatusCode::ACCEPTED, "draining, then stopping\n").into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy; try again\n").into_response(),
    }
}

fn json_response(value: &impl fmt::Display) -> Response {
    ([(CONTENT_TYPE, "application/json")], format!("{value:#}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `METHOD /path` of docs/admin.md, of the list that is shown, and of the router.
    #[test]
    fn the_documented_paths_are_those_listed_and_served() {
        let document = include_str!("../../../docs/admin.md");
        let rows = document.lines().filter_map(|row| {
            let request = row.strip_prefix("| `")?.split('`').next()?;
            request.contains(" /").then(|| request.to_owned())
        });
        let listed = PATHS.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().take(2).collect();
            words.join(" ")
        });
        let listed: BTreeSet<String> = listed.collect();
        assert_eq!(rows.collect::<BTreeSet<_>>(), listed);
        let source = include_str!("admin.rs");
        let (_, router) = source.split_once("\nfn router(").unwrap();
        let router = router.split("\n}").next().unwrap();
        let served = router.split(".route(\"").skip(1);
        let served: BTreeSet<&str> = served.filter_map(|rest| rest.split('"').next()).collect();
        let paths = listed
            .iter()
            .filter_map(|request| request.split(' ').nth(1));
        assert_eq!(paths.collect::<BTreeSet<_>>(), served);
    }

    #[test]
    fn an_address_in_use_is_said_with_what_to_do() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err().to_string();
        assert!(
            error.contains("ss -ltnp") && error.contains("admin.address"),
            "{error}"
        );
    }

    #[test]
    fn an_address_that_is_freed_soon_is_waited_for() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let frees = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(first);
        });
        bind(address).unwrap();
        frees.join().unwrap();
    }

    #[test]
    fn a_foreign_address_is_said_to_be_one() {
        let error = bind("192.0.2.1:9901".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains("no address of this machine"), "{error}");
    }
}

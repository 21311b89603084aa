//! The admin interface: plain HTTP on a kernel socket, off the data path.

mod metrics;
mod ready;
mod text;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::{fmt, io};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use sluice_engine::{Handoff, WorkerStats};
use sluice_port::{Pool, Port, cycles};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::control::Event;
use crate::log;
use crate::loop_stats::LoopStats;
use crate::status::Status;

const PATHS: &str = "\
GET  /ready     200 while requests are served, otherwise 503 and why
GET  /metrics   counters, Prometheus text format
GET  /config    the rules in force and their generation, JSON
GET  /services  services and their endpoints, JSON
POST /drain     let requests under way finish, then stop, as SIGTERM does
";

/// What the admin interface looks at.
pub(crate) struct View {
    /// Every port, in the order of the rules.
    pub(crate) ports: Vec<PortView>,
    /// What the worker's engine counts.
    pub(crate) stats: Arc<WorkerStats>,
    /// What the worker's loop counts.
    pub(crate) loop_stats: Arc<LoopStats>,
    /// What the control thread says.
    pub(crate) status: Arc<Status>,
    /// Where the rules in force are.
    pub(crate) handoff: Arc<Handoff>,
    /// How the control thread is told something.
    pub(crate) events: SyncSender<Event>,
    /// Cycles of the time stamp counter per second.
    pub(crate) tsc_hz: u64,
}

/// A port's counters and buffers.
pub(crate) struct PortView {
    /// Name in the rules.
    pub(crate) name: Arc<str>,
    /// The device.
    pub(crate) port: Port,
    /// Its pools, one per worker.
    pub(crate) pools: Vec<Pool>,
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

/// Binds the socket; connections wait until [`Admin::start`].
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bound = TcpListener::bind(address).and_then(|socket| {
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
        .route("/services", get(services))
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
    let age = view.loop_stats.age(cycles(), view.tsc_hz);
    match ready::readiness(view.status.is_draining(), age) {
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
    json_response(&json!({
        "generation": view.handoff.generation(),
        "rules": view.status.rules(),
    }))
}

async fn services(State(view): State<Arc<View>>) -> Response {
    let rules = view.handoff.current();
    let port = |index: usize| rules.ports.get(index).map(|port| &*port.name);
    let services: Vec<_> = rules
        .services
        .iter()
        .map(|service| {
            let endpoints: Vec<_> = service
                .endpoints
                .iter()
                .map(|to| json!({ "address": to.address.to_string(), "port": port(to.port) }))
                .collect();
            json!({ "name": &*service.name, "endpoints": endpoints })
        })
        .collect();
    json_response(&json!({ "generation": rules.generation, "services": services }))
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
    use super::*;

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
    fn a_foreign_address_is_said_to_be_one() {
        let error = bind("192.0.2.1:9901".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains("no address of this machine"), "{error}");
    }
}

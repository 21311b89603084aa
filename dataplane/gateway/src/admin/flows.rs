//! `GET /flows`: the workers' TCP flows. docs/admin.md says what each field means.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sluice_engine::stack::StackStats;
use sluice_engine::stack::counters::Gauge;
use sluice_engine::{FlowPage, FlowReport, FlowUser};
use tokio::time::sleep;

use super::query::{Query, QueryError};
use super::{View, json_response};

/// Flows of one answer, where the query doesn't say, and at most.
const LIMIT: usize = 1_000;
const MAX_LIMIT: usize = 10_000;

/// How often the worker's answer is looked for, and how many times at most: a worker that does not
/// poll for so long serves nobody.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const LOOKS: u32 = 1_000;

/// A place in the flow tables of all workers, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    worker: usize,
    slot: u32,
}

impl Place {
    fn of(number: u64) -> Self {
        Place {
            worker: usize::try_from(number >> 32).unwrap_or(usize::MAX),
            slot: number as u32,
        }
    }

    fn number(self) -> u64 {
        (self.worker as u64) << 32 | u64::from(self.slot)
    }

    /// Where the next worker's flows begin, if there is one.
    fn next_worker(self, workers: usize) -> Option<Self> {
        let worker = self.worker.saturating_add(1);
        (worker < workers).then_some(Place { worker, slot: 0 })
    }
}

/// `GET /flows`.
pub(super) async fn list(State(view): State<Arc<View>>, RawQuery(query): RawQuery) -> Response {
    let (mut from, limit) = match parse(&query.unwrap_or_default()) {
        Ok(parsed) => parsed,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let workers = view.workers.len();
    let mut list = Vec::new();
    let next = loop {
        let page = match page(&view, from).await {
            Ok(page) => page,
            Err(why) => {
                return (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response();
            }
        };
        let mut flows = page.flows.iter();
        list.extend(
            flows
                .by_ref()
                .take(limit - list.len())
                .map(|flow| show(&view, from.worker, flow)),
        );
        let next = match page.next {
            Some(slot) => Some(Place { slot, ..from }),
            None => from.next_worker(workers),
        };
        match (flows.next(), next) {
            (Some(flow), _) => {
                let slot = flow.info.slot;
                break Some(Place { slot, ..from });
            }
            (None, Some(next)) if list.len() < limit => from = next,
            (None, next) => break next,
        }
    };
    let total = |level: fn(&StackStats) -> &Gauge| -> u64 {
        let stacks = view.workers.iter().map(|worker| &worker.stats.stack);
        stacks.map(|stack| level(stack).get()).sum()
    };
    json_response(&json!({
        "flows": total(|stack| &stack.flows),
        "half_open": total(|stack| &stack.half_open),
        "time_wait": total(|stack| &stack.time_wait),
        "list": list,
        "next": next.map(Place::number),
    }))
}

/// Where to begin, and how many flows to show.
fn parse(query: &str) -> Result<(Place, usize), QueryError> {
    let query = Query::parse(query, &["limit", "from"])?;
    Ok((
        Place::of(query.number("from", 0..=u64::MAX, 0)?),
        query.number("limit", 1..=MAX_LIMIT, LIMIT)?,
    ))
}

async fn page(view: &View, from: Place) -> Result<FlowPage, String> {
    let Some(worker) = view.workers.get(from.worker) else {
        return Ok(FlowPage {
            flows: Vec::new(),
            next: None,
        });
    };
    let asked = worker.inspection.flows(from.slot);
    let reply = asked.map_err(|busy| busy.to_string())?;
    for _ in 0..LOOKS {
        sleep(LOOK_EVERY).await;
        if let Some(page) = reply.take() {
            return Ok(page);
        }
    }
    Err("a worker does not answer; see /ready".into())
}

fn show(view: &View, worker: usize, flow: &FlowReport) -> Value {
    let info = &flow.info;
    let (listener, service) = match &flow.user {
        FlowUser::Listener(name) => (Some(&**name), None),
        FlowUser::Service(name) => (None, Some(&**name)),
        FlowUser::Nobody => (None, None),
    };
    let port = view.ports.get(usize::from(info.key.port()));
    let micros = |time: Duration| time.as_micros() as u64;
    json!({
        "worker": worker,
        "port": port.map(|port| &*port.name),
        "local": info.key.local().to_string(),
        "remote": info.key.remote().to_string(),
        "state": info.state,
        "listener": listener,
        "service": service,
        "age_us": micros(info.age),
        "idle_us": micros(info.idle),
        "bytes_in": info.received,
        "bytes_out": info.sent,
        "receive_queue": info.receive_queue,
        "send_queue": info.send_queue,
        "rtt_us": info.rtt.map(|rtt| micros(rtt.smoothed)),
        "rtt_min_us": info.rtt.map(|rtt| micros(rtt.least)),
        "retransmissions": info.retransmitted,
    })
}

//! `/history` and `/rollback`: rules that were accepted before, and the way back to them.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

use super::query::{Query, QueryError};
use super::{View, json_response};
use crate::control::{Event, RolledBack};

pub(super) async fn list(State(view): State<Arc<View>>) -> Response {
    json_response(&view.status.history())
}

pub(super) async fn roll_back(
    State(view): State<Arc<View>>,
    RawQuery(query): RawQuery,
) -> Response {
    let to = match parse(&query.unwrap_or_default()) {
        Ok(to) => to,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let busy = || (StatusCode::SERVICE_UNAVAILABLE, "busy; try again\n").into_response();
    let (answer, answered) = oneshot::channel();
    if view
        .events
        .try_send(Event::RollBack { to, answer })
        .is_err()
    {
        return busy();
    }
    match answered.await {
        Ok(Ok(RolledBack { generation, origin })) => {
            format!("rolled back to the rules of generation {origin}, as generation {generation}\n")
                .into_response()
        }
        Ok(Err(reason)) => (StatusCode::CONFLICT, format!("{reason}\n")).into_response(),
        Err(_) => busy(),
    }
}

fn parse(query: &str) -> Result<Option<u64>, QueryError> {
    let query = Query::parse(query, &["to"])?;
    query.get("to", "the number of a generation", |text| text.parse().ok())
}

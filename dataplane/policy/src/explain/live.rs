//! What the rules made of a request under way.

use super::Explanation;
use super::way::Way;
use crate::request::RequestView;
use crate::snapshot::{Listener, Route, Snapshot};

/// A request under way, and what was found out about it.
#[derive(Debug)]
pub struct Underway<'a> {
    /// The rules that it goes by.
    pub snapshot: &'a Snapshot,
    /// The listener that accepted it.
    pub listener: &'a Listener,
    /// It comes from a trusted peer.
    pub trusted: bool,
    /// Its host with the port.
    pub authority: &'a [u8],
    /// What rules see of it.
    pub view: &'a RequestView<'a>,
    /// The route that took it.
    pub route: Option<&'a Route>,
    /// It was refused before any route was asked.
    pub refused: bool,
    /// When it came, where that is known, in seconds after 1970-01-01 UTC.
    pub wall: Option<u64>,
}

/// What the rules made of a request, as [`explain`](super::explain()) tells it. What was left to chance is
/// decided; near misses are those routes that were tried before, and none are told of that come later. Costs
/// what finding the route costs, and the words.
pub fn explain_underway(request: &Underway<'_>) -> Explanation {
    let Underway {
        snapshot,
        listener,
        trusted,
        authority,
        view,
        route,
        refused,
        wall,
    } = *request;
    if refused {
        return Explanation::of(listener, view.source);
    }
    let way = Way {
        snapshot,
        listener,
        trusted,
        authority,
        live: true,
        wall,
    };
    way.of_live(view.clone(), route)
}

impl Explanation {
    /// A line for each thing, without the endpoints that might have answered.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "listener {}, client {}",
            self.listener, self.client
        )];
        if let Some(lane) = &self.lane {
            lines.push(format!("lane {lane}"));
        }
        lines.extend(self.ignored.iter().map(|own| format!("ignored {own}")));
        if let Some(route) = &self.route {
            lines.push(format!("route {route}"));
        }
        lines.extend(self.becomes.iter().cloned());
        lines.extend(self.near_misses.iter().map(|miss| format!("not {miss}")));
        lines
    }
}

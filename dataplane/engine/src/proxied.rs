//! Connections through a proxy that speaks the PROXY protocol: whose they are, and the connections to
//! endpoints that belong to one client.

use sluice_stack::Phase;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::proxy_protocol::{self, MAX_V2, Origin};

use crate::downstream::{Opening, Step};
use crate::forwarding::as_text;
use crate::stats::EngineEvent;
use crate::worker::Worker;

impl<P: PacketIo> Worker<P> {
    /// Reads the PROXY header that a client's connection has to begin with.
    #[cold]
    pub(crate) fn proxy_header(&mut self, number: u32, finished: bool, now: Instant) -> Step {
        let Some(down) = self.downs.get_mut(number as usize) else {
            return Step::Over;
        };
        let buffer = self.stack.front(down.flow, MAX_V2, &mut self.spare.linear);
        match proxy_protocol::parse(buffer) {
            Ok(Some((origin, consumed))) => {
                let rules = self.generations.current().listener_rules(down.listener);
                down.opening = rules.map_or(Opening::Http, |own| Opening::of(own.protocol));
                if let Origin::Proxied {
                    source,
                    destination,
                } = origin
                {
                    down.peer = source;
                    down.client = as_text(source.ip());
                    down.local = destination;
                }
                self.stack.consume(down.flow, consumed);
                Step::Again
            }
            Ok(None) if !finished => Step::Wait,
            Ok(None) | Err(_) => {
                // No HTTP has been spoken, so none is answered.
                self.stats.events.count(EngineEvent::BadProxyHeader);
                self.close_downstream(number, now);
                Step::Over
            }
        }
    }

    /// Takes the connection that belongs to a client's own, if it `fits` and is still good; it is
    /// ended otherwise.
    pub(crate) fn take_kept(&mut self, number: u32, fits: bool, now: Instant) -> Option<u32> {
        let kept = self.downs.get_mut(number as usize)?.kept?;
        if !fits {
            self.close_upstream(kept, false, now);
            return None;
        }
        if !self.waits_well(kept, now) {
            return None;
        }
        self.downs.get_mut(number as usize)?.kept = None;
        self.ups.get_mut(kept as usize)?.kept_by = None;
        self.upstream_idle = self.upstream_idle.saturating_sub(1);
        Some(kept)
    }

    /// Keeps a connection to an endpoint for the client's connection it was opened for, or ends it:
    /// it began with that client's address, so it is nobody else's.
    pub(crate) fn keep_upstream(&mut self, number: u32, down: u32, reusable: bool, now: Instant) {
        let (Some(upstream), Some(client)) = (
            self.ups.get_mut(number as usize),
            self.downs.get_mut(down as usize),
        ) else {
            return;
        };
        let view = self.stack.view(upstream.flow);
        let clean = view.readable == 0 && upstream.backlog.is_empty();
        let open = view.phase == Phase::Open && !view.finished;
        if !(reusable && clean && open) || self.draining || client.kept.is_some() {
            self.close_upstream(number, !clean, now);
            return;
        }
        client.kept = Some(number);
        upstream.kept_by = Some(down);
        upstream.exchange = None;
        upstream.reused = true;
        upstream.idle_since = now;
        self.upstream_idle += 1;
        let timeout = self.pools.get(upstream.pool).map(|pool| pool.idle_timeout);
        self.up_timers
            .set(number, now + timeout.unwrap_or_default());
    }
}

//! Lanes: who is tagged how, and which endpoints serve a lane.

use std::sync::Arc;

use crate::matching::{Condition, Key, RpcKey};
use crate::request::{Message, RequestView};
use crate::snapshot::{LaneId, Protocols};

/// The lanes of one set of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lanes {
    /// The header that the tag travels by, in lower case.
    pub header: Arc<str>,
    /// The key that it travels by in remote procedure calls.
    pub key: RpcKey,
    /// Who is tagged how, in this order.
    pub tags: Vec<Tag>,
    /// Every lane that anything names, in order; [`LaneId`] is the index.
    pub names: Vec<Arc<str>>,
}

/// Which requests get which tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The tag.
    pub lane: TagFrom,
    /// Which requests it is for.
    pub protocols: Protocols,
    /// What must hold.
    pub conditions: Box<[Condition]>,
}

/// Where a tag comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagFrom {
    /// It is always this.
    Lane(LaneId),
    /// The request says it.
    Request(Key),
}

impl Lanes {
    /// The lane of that name.
    pub fn find(&self, name: &[u8]) -> Option<LaneId> {
        let found = self
            .names
            .binary_search_by(|own| own.as_bytes().cmp(name))
            .ok()?;
        Some(LaneId(found))
    }

    /// The name of a lane.
    pub fn name(&self, lane: LaneId) -> Option<&str> {
        self.names.get(lane.0).map(|name| &**name)
    }

    /// What the request came tagged with.
    pub fn received<'a>(&self, request: &RequestView<'a>) -> Option<&'a [u8]> {
        match &request.message {
            Message::Http(http) => http.headers.named(self.header.as_bytes()).next(),
            Message::Rpc(rpc) => self.key.value(rpc),
        }
    }

    /// The lane that a request belongs to: that of the first tag that fits, or the one that it came
    /// with, where the peer is trusted. Does not allocate.
    pub fn lane_of(&self, request: &RequestView<'_>, trusted: bool) -> Option<LaneId> {
        if trusted && let Some(lane) = self.received(request) {
            return self.find(lane);
        }
        self.tags.iter().find_map(|tag| {
            let lane = match &tag.lane {
                TagFrom::Lane(lane) => *lane,
                TagFrom::Request(key) => self.find(key.value(request)?)?,
            };
            tag.fits(request).then_some(lane)
        })
    }
}

impl Tag {
    fn fits(&self, request: &RequestView<'_>) -> bool {
        self.protocols.take(&request.message)
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(request))
    }
}

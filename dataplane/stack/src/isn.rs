//! Initial sequence numbers (RFC 6528) and the start of timestamps (RFC 7323 5.4).

use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};

use crate::key::FlowKey;
use crate::time::Instant;

/// Where a connection starts to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// Initial sequence number: a clock that ticks every 4 us plus a keyed hash of the connection
    /// (RFC 6528 3).
    pub(crate) isn: u32,
    /// Added to the clock of timestamps: another part of that hash, so that nobody learns how long we
    /// run, and connections between the same ends count on from one another.
    pub(crate) timestamps: u32,
}

/// Chooses both.
#[derive(Debug, Clone)]
pub(crate) struct IsnSource {
    key: (u64, u64),
}

impl IsnSource {
    pub(crate) fn new(key: (u64, u64)) -> Self {
        IsnSource { key }
    }

    pub(crate) fn start(&self, flow: &FlowKey, now: Instant) -> Start {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        flow.hash(&mut hasher);
        let hash = hasher.finish();
        Start {
            isn: (hash as u32).wrapping_add((now.as_nanos() / 4_000) as u32),
            timestamps: (hash >> 32) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_clock_and_differ_between_connections_and_keys() {
        let key = |port| {
            FlowKey::new(
                0,
                "10.0.0.1:80".parse().unwrap(),
                std::net::SocketAddr::from(([10, 0, 0, 2], port)),
            )
        };
        let source = IsnSource::new((1, 2));
        let at = |nanos| source.start(&key(1), Instant::from_nanos(nanos));
        assert_eq!(at(8_000).isn, at(0).isn.wrapping_add(2));
        assert_eq!(at(8_000).timestamps, at(0).timestamps);
        let other = source.start(&key(2), Instant::ZERO);
        assert!(other.isn != at(0).isn && other.timestamps != at(0).timestamps);
        let elsewhere = IsnSource::new((1, 3)).start(&key(1), Instant::ZERO);
        assert_ne!(elsewhere.isn, at(0).isn);
    }
}

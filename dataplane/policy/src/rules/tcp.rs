//! How connections behave, those of clients and those to services.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Period, Size};

/// How connections behave, those of clients and those to services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tcp {
    /// What a connection's buffer may grow to in each direction where its path needs more than the
    /// listener's `buffer`: 64KiB to 64MiB. A peer 20ms away at 1 Gbit/s needs 2.5MB.
    pub window: Size,
    /// Memory for what all connections of a worker hold beyond their `buffer`: 0B to 64GiB. When it is
    /// used up, windows stay as they are.
    pub window_memory: Size,
    /// The shortest wait for an acknowledgement before something is sent again: 1ms to 1s. Shorter ones
    /// are for peers in the same data center.
    pub min_timeout: Period,
    /// How long a peer may leave what it was sent, or what it was asked, unanswered before its connection
    /// is given up: 1s to 24h.
    pub user_timeout: Period,
    /// How long a peer may be silent before it is asked whether it is still there: 1s to 24h.
    pub keep_alive: Period,
    /// What decides how fast to send.
    pub congestion: Congestion,
}

impl Default for Tcp {
    fn default() -> Self {
        Tcp {
            window: Size(4 << 20),
            window_memory: Size(256 << 20),
            min_timeout: Period(Duration::from_millis(200)),
            user_timeout: Period(Duration::from_secs(120)),
            keep_alive: Period(Duration::from_secs(7_200)),
            congestion: Congestion::Cubic,
        }
    }
}

/// What decides how fast to send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Congestion {
    /// Losses: a lost segment means that the path is full (RFC 9438).
    #[default]
    Cubic,
    /// What arrives: a connection sends as fast as the path was seen to deliver, whether it loses segments
    /// or not. For clients on paths that lose without being full, such as radio.
    Bbr,
}

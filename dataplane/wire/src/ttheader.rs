//! TTHeader, the transport protocol of CloudWeGo's RPC frameworks: a head of metadata before a payload
//! (<https://www.cloudwego.io/docs/kitex/reference/transport_protocol_ttheader/>, gopkg
//! `protocol/ttheader`, and what Kitex v0.16.0 and volo-thrift 0.12.7 were seen to send).
//!
//! | offset | field |
//! |---|---|
//! | 0 | u32 LENGTH: bytes after this field |
//! | 4 | u16 magic 0x1000 |
//! | 6 | u16 FLAGS |
//! | 8 | i32 SEQUENCE |
//! | 12 | u16 HEADER SIZE in units of 4 bytes, counted from offset 14 to the payload |
//! | 14 | u8 PROTOCOL ID |
//! | 15 | u8 number of transforms, then so many bytes, which are passed over |
//! | .. | INFO blocks in any order, zero bytes between and behind them |
//!
//! [`Head::parse`] reads a head, all or nothing: a checked view of the received bytes, found by one
//! pass that allocates nothing. What it accepts means the same to every reader:
//!
//! * **Blocks and keys may be repeated**: blocks of a kind add up, and of a key given twice the later
//!   value counts, as for gopkg, Volo and monoio-thrift. Only the ACL token can't be repeated, nor
//!   stand in the string map as well: there readers differ.
//! * **Unknown keys are kept**, unknown INFO blocks are refused: their length is not known.
//! * **The protocol id is not trusted**: peers write 0 over all kinds of payloads.
//!   [`Head::payload`] looks at the payload itself.
//!
//! [`Edits`] and [`Head::write`] send a head on: byte for byte where nothing changes, values of equal
//! length in place, and otherwise encoded anew. The payload is left alone but for the sequence of its
//! Thrift message, see [`Head::write_with_sequence`].
//!
//! A gateway stands within one hop of a call: `RPC_PERSIST_`, `RPC_TRANSIT_` and `RPC_BACKWARD_` keys all
//! pass through it unless an edit says otherwise ([`Edit::RemovePrefix`]).

mod answer;
mod checksum;
mod edit;
mod error;
mod head;
mod info;
mod keys;
mod mesh_header;
mod meta;
mod multiplex;
mod new;
mod payload;
mod sequence;

#[cfg(test)]
mod tests;

pub use answer::{Answer, KeptAnswer, write_stream_reset};
pub use checksum::crc32c;
pub use edit::{Edit, Edits};
pub use error::{EncodeError, HeadError, PayloadError, RewriteError};
pub use head::{FIXED, Flags, Head};
pub use info::{Info, Infos};
pub use keys::{integer, string};
pub use mesh_header::MeshHeader;
pub use meta::{Remaining, StreamFrame, Timeout, message_kind};
pub use multiplex::{Call, Counts, Ended, Match, Mode, Sequences, Table};
pub use new::NewHead;
pub use payload::Payload;

/// Longest head that is written, from offset 14 to the payload: readers that compute it in 16 bits
/// overflow beyond.
pub const MAX_WRITTEN: usize = 65_532;

/// How large a frame may be. A limit reached is an error, never a truncation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, from offset 0 to the payload (default 65,546, which is every head of
    /// [`MAX_WRITTEN`]). Legal are at most 262,154.
    pub head: usize,
    /// Bytes of a whole frame (default 16 MiB).
    pub frame: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: FIXED + MAX_WRITTEN,
            frame: 16 << 20,
        }
    }
}

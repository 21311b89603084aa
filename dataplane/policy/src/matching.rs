//! Which requests a rule takes: conditions over what is known of a request.
//!
//! Every test here is linear in the bytes it looks at, takes no lock and does not allocate.

mod condition;
mod fields;
mod path;
mod regex;
mod rpc;
mod value;

pub use condition::{Condition, Key};
pub use path::{Captures, MAX_CAPTURES, PathMatch, PathRegex, Pattern};
pub(crate) use path::{PatternError, behind_prefix};
pub use regex::Regex;
pub(crate) use regex::{RegexError, Regexes};
pub use rpc::{NameMatch, RpcKey};
pub(crate) use value::Test;
pub use value::ValueTest;

/// Spreads a number over all bits (the finalizer of SplitMix64).
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A hash that is the same on every gateway and in every version: FNV-1a, spread by [`mix`].
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// Whether a number that is spread evenly falls into a share, in parts per million.
pub(crate) fn falls_into(bits: u64, share: u32) -> bool {
    below(bits, 1_000_000) < share
}

/// A number below `bound` out of one that is spread evenly.
pub(crate) fn below(bits: u64, bound: u32) -> u32 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u32
}

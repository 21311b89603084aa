//! Initial sequence numbers of our choice (RFC 6528), through smoltcp's only handle on them.
//!
//! smoltcp draws a socket's initial sequence number from a generator that belongs to the
//! `Interface`, and only its seed can be given. The generator is a bijection on 64 bits, so it can be
//! run backwards: [`seed_for`] finds a seed from which the number drawn is the one wanted. A
//! temporary `Interface` with that seed then opens the connection. A test holds this against
//! smoltcp itself, so an update that changes the generator is noticed.

use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};

use crate::key::FlowKey;
use crate::time::Instant;

const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;
/// The multiplier's inverse modulo 2^64.
const INVERSE: u64 = inverse(MULTIPLIER);

const fn inverse(odd: u64) -> u64 {
    // Newton's iteration doubles the correct low bits: 3, 6, 12, 24, 48, 96.
    let mut x = odd;
    let mut i = 0;
    while i < 5 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        i += 1;
    }
    x
}

fn previous(state: u64) -> u64 {
    state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE)
}

/// The seed of an `Interface` whose first connection starts at sequence number `isn`.
pub(crate) fn seed_for(isn: u32) -> u64 {
    // The output of a state s is `(s >> (29 - (s >> 61))) as u32`: with the top three bits zero, bits
    // 29 to 60. The low 29 bits are free. `Interface::new` draws once before, and again while the
    // low half of its draw is zero, so take a state whose predecessor's draw is not zero.
    let mut low = 0u64;
    loop {
        let state = (u64::from(isn) << 29) | low;
        let before = previous(state);
        let drawn = (before >> (29 - (before >> 61))) as u32;
        if (drawn ^ (drawn >> 16)) as u16 != 0 {
            return previous(before);
        }
        low += 1;
    }
}

/// Chooses initial sequence numbers: a clock that ticks every 4 us plus a keyed hash of the
/// connection (RFC 6528, section 3).
#[derive(Debug, Clone)]
pub(crate) struct IsnSource {
    key: (u64, u64),
}

impl IsnSource {
    pub(crate) fn new(key: (u64, u64)) -> Self {
        IsnSource { key }
    }

    pub(crate) fn isn(&self, flow: &FlowKey, now: Instant) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        flow.hash(&mut hasher);
        (hasher.finish() as u32).wrapping_add((now.as_nanos() / 4_000) as u32)
    }
}

//! Which worker a flow belongs to: what network cards do to spread flows over their queues, done in
//! software. Where a card does it with the same key and table, frames arrive where they belong; where
//! they don't, the worker that received one hands it on.

mod evidence;
mod ways;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::key::FlowKey;

pub use evidence::{Claim, Evidence, First, Found, Verdict};
pub(crate) use ways::Ways;
pub use ways::{Order, WAYS};

/// Bytes of key that IPv6 needs: 36 of addresses and ports, and 32 bits beyond.
pub const KEY_MIN: usize = 40;

/// Places of the table where the device has none of its own: enough that three workers get shares
/// within 1 %.
const PLACES: usize = 128;

/// Words of two IPv6 addresses and two ports, the longest input.
const WORDS: usize = 9;

/// The Toeplitz hash of receive side scaling over addresses and ports, by tables: a look-up for each half
/// of a byte, since tables by whole bytes would fill a processor's first cache. Verified against the examples
/// of Microsoft's specification.
#[derive(Clone)]
struct Toeplitz(Box<[Word; WORDS]>);

/// What each half of a byte of a word adds to the hash, the highest first.
type Word = [[u32; 16]; 8];

impl Toeplitz {
    fn new(key: &[u8]) -> Self {
        let bit = |at: usize| {
            key.get(at / 8)
                .is_some_and(|byte| byte & 0x80 >> (at % 8) != 0)
        };
        let window =
            |at: usize| (at..at + 32).fold(0u32, |bits, at| bits << 1 | u32::from(bit(at)));
        let half = |half: usize| -> [u32; 16] {
            let windows: [u32; 4] = std::array::from_fn(|at| window(half * 4 + at));
            std::array::from_fn(|value: usize| {
                (0..4)
                    .filter(|at| value & 8 >> at != 0)
                    .fold(0, |hash, at| hash ^ windows[at])
            })
        };
        let word = |word: usize| std::array::from_fn(|at| half(word * 8 + at));
        Toeplitz(Box::new(std::array::from_fn(word)))
    }

    #[inline]
    fn hash<const N: usize>(&self, input: [u32; N]) -> u32 {
        let mut hash = 0;
        for (word, halves) in input.into_iter().zip(self.0.iter()) {
            for (at, half) in halves.iter().enumerate() {
                hash ^= half[(word >> (28 - 4 * at) & 15) as usize];
            }
        }
        hash
    }

    /// What a device computes of a frame of the flow that it receives. A VLAN tag has no part in it.
    #[inline]
    fn of(&self, key: &FlowKey) -> u32 {
        let (remote, local) = (key.remote_bits(), key.local_bits());
        let ports = u32::from(key.remote_port()) << 16 | u32::from(key.local_port());
        match key.family() {
            Family::V4 => self.hash([remote as u32, local as u32, ports]),
            Family::V6 => {
                let word = |bits: u128, at: u32| (bits >> (96 - 32 * at)) as u32;
                let [r, l] = [remote, local].map(|bits| [0, 1, 2, 3].map(|at| word(bits, at)));
                self.hash([r[0], r[1], r[2], r[3], l[0], l[1], l[2], l[3], ports])
            }
        }
    }
}

/// IPv4 or IPv6: a device may spread flows of one as it says, and of the other not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Says which worker owns a flow of one port.
#[derive(Clone)]
pub struct Steering {
    v4: Arc<Spreading>,
    v6: Arc<Spreading>,
}

/// A hash, and the worker of each place.
struct Spreading {
    hash: Toeplitz,
    /// As many as a power of two.
    places: Box<[u16]>,
}

/// A key or a table by which flows can't be spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SteeringError {
    /// The key.
    #[error("its key has {0} bytes, and {KEY_MIN} are needed")]
    ShortKey(usize),
    /// The table.
    #[error("its table has {0} places, which is no power of two")]
    Table(usize),
    /// A key of zeros, or a table that leaves somebody out.
    #[error("by its key and table, worker {0} would get no connections, or hardly any")]
    Uneven(u16),
}

impl Steering {
    /// As a device steers that hashes with `key` and whose table leads to these workers; of `workers`,
    /// each has to get a fair part.
    ///
    /// # Errors
    /// They are not such that every worker gets connections, whatever the addresses.
    pub fn of_device(key: &[u8], table: &[u16], workers: u16) -> Result<Self, SteeringError> {
        if key.len() < KEY_MIN {
            return Err(SteeringError::ShortKey(key.len()));
        }
        Steering::of_hash(Toeplitz::new(key), table, workers)
    }

    fn of_hash(hash: Toeplitz, table: &[u16], workers: u16) -> Result<Self, SteeringError> {
        if !table.len().is_power_of_two() {
            return Err(SteeringError::Table(table.len()));
        }
        let places = table.into();
        let both = Arc::new(Spreading { hash, places });
        let steering = Steering {
            v4: both.clone(),
            v6: both,
        };
        match (0..workers).find(|worker| !steering.is_fair_to(*worker, workers)) {
            Some(worker) => Err(SteeringError::Uneven(worker)),
            None => Ok(steering),
        }
    }

    /// In software alone: equal parts for `workers` workers.
    ///
    /// # Errors
    /// As [`Self::of_device`]: the key.
    pub fn in_software(key: &[u8], workers: u16) -> Result<Self, SteeringError> {
        let table: Vec<u16> = (0..PLACES.max(usize::from(workers).next_power_of_two()))
            .map(|place| (place % usize::from(workers.max(1))) as u16)
            .collect();
        Steering::of_device(key, &table, workers)
    }

    /// The same, with flows of one family by another steering.
    #[must_use]
    pub fn with(&self, family: Family, other: &Steering) -> Steering {
        let (mut v4, mut v6) = (self.v4.clone(), self.v6.clone());
        match family {
            Family::V4 => v4 = other.v4.clone(),
            Family::V6 => v6 = other.v6.clone(),
        }
        Steering { v4, v6 }
    }

    /// The same, with an eighth of the places that one of `workers` has, of flows of a family, given to
    /// another; `None` where it would be left with less than half of an equal part.
    pub fn shifted(&self, family: Family, from: u16, to: u16, workers: u16) -> Option<Steering> {
        let Spreading { hash, places } = self.of(family);
        let held = places.iter().filter(|worker| **worker == from).count();
        let moved = (held / 8).max(1);
        if held < moved + (places.len() / usize::from(workers.max(1)) / 2).max(1) {
            return None;
        }
        let mut places = places.clone();
        let of_from = places.iter_mut().filter(|worker| **worker == from);
        for worker in of_from.step_by(held / moved).take(moved) {
            *worker = to;
        }
        let hash = hash.clone();
        let shifted = Arc::new(Spreading { hash, places });
        let (v4, v6) = (shifted.clone(), shifted);
        Some(self.with(family, &Steering { v4, v6 }))
    }

    #[inline]
    fn of(&self, family: Family) -> &Spreading {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The worker of a flow.
    #[inline]
    pub fn owner(&self, key: &FlowKey) -> u16 {
        let spreading = self.of(key.family());
        let places = &spreading.places;
        let place = spreading.hash.of(key) as usize & (places.len() - 1);
        places.get(place).copied().unwrap_or(0)
    }

    /// Whether a worker gets at least a quarter of an equal part of the connections between two hosts,
    /// by the choice of the local port as of the remote one.
    fn is_fair_to(&self, worker: u16, workers: u16) -> bool {
        const PORTS: u16 = 4096;
        let part = u32::from(PORTS / workers.max(1) / 4).max(1);
        let count = |key: &dyn Fn(u16) -> FlowKey| {
            let owned = (0..PORTS).filter(|port| self.owner(&key(32_768 + port)) == worker);
            owned.count() as u32
        };
        let hosts: [[IpAddr; 2]; 2] = [
            [[10, 1, 2, 3].into(), [10, 4, 5, 6].into()],
            [
                [0xfd00, 1, 2, 3, 4, 5, 6, 7].into(),
                [0xfd00, 8, 9, 10, 11, 12, 13, 14].into(),
            ],
        ];
        hosts.into_iter().all(|[local, remote]| {
            let by_local = |port| FlowKey::new(0, (local, port).into(), (remote, 8080).into());
            let by_remote = |port| FlowKey::new(0, (local, 80).into(), (remote, port).into());
            count(&by_local) >= part && count(&by_remote) >= part
        })
    }
}

impl fmt::Debug for Steering {
    /// Without the key, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (v4, v6) = (self.v4.places.len(), self.v6.places.len());
        write!(f, "Steering over {v4} places, of IPv6 {v6}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// The key of Microsoft's "Verifying the RSS hash calculation".
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    fn hash(remote: &str, local: &str) -> u32 {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        Toeplitz::new(&KEY).of(&FlowKey::new(3, local, remote))
    }

    #[test]
    fn the_hash_is_that_of_the_specifications_examples() {
        let v4 = [
            ("66.9.149.187:2794", "161.142.100.80:1766", 0x51cc_c178),
            ("199.92.111.2:14230", "65.69.140.83:4739", 0xc626_b0ea),
            ("24.19.198.95:12898", "12.22.207.184:38024", 0x5c2b_394a),
            ("38.27.205.30:48228", "209.142.163.6:2217", 0xafc7_327f),
            ("153.39.163.191:44251", "202.188.127.2:1303", 0x10e8_28a2),
        ];
        let v6 = [
            (
                "[3ffe:2501:200:1fff::7]:2794",
                "[3ffe:2501:200:3::1]:1766",
                0x4020_7d3d,
            ),
            (
                "[3ffe:501:8::260:97ff:fe40:efab]:14230",
                "[ff02::1]:4739",
                0xdde5_1bbf,
            ),
            (
                "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
                "[fe80::200:f8ff:fe21:67cf]:38024",
                0x02d1_feef,
            ),
        ];
        for (remote, local, expected) in v4.into_iter().chain(v6) {
            assert_eq!(hash(remote, local), expected, "{remote} {local}");
        }
    }

    #[test]
    fn a_key_of_zeros_or_a_table_of_one_worker_is_refused() {
        assert_eq!(
            Steering::in_software(&[0; 40], 2).unwrap_err(),
            SteeringError::Uneven(1)
        );
        assert_eq!(
            Steering::of_device(&KEY, &[1; 128], 2).unwrap_err(),
            SteeringError::Uneven(0)
        );
        assert_eq!(
            Steering::of_device(&KEY[..20], &[0, 1], 2).unwrap_err(),
            SteeringError::ShortKey(20)
        );
        assert_eq!(
            Steering::of_device(&KEY, &[0, 1, 0], 2).unwrap_err(),
            SteeringError::Table(3)
        );
        assert_eq!(
            Steering::of_device(&KEY, &[], 2).unwrap_err(),
            SteeringError::Table(0)
        );
    }

    #[test]
    fn a_busy_worker_gets_fewer_flows_of_a_family_but_never_too_few() {
        let mut steering = Steering::in_software(&KEY, 4).unwrap();
        let before = steering.clone();
        let places = |steering: &Steering, worker| {
            let places = steering.v6.places.iter();
            places.filter(|owner| **owner == worker).count()
        };
        let mut shifts = 0;
        while let Some(shifted) = steering.shifted(Family::V6, 1, 3, 4) {
            let moved = places(&steering, 1) / 8;
            assert_eq!(places(&shifted, 1), places(&steering, 1) - moved);
            assert_eq!(places(&shifted, 3), places(&steering, 3) + moved);
            steering = shifted;
            shifts += 1;
        }
        assert!((3..20).contains(&shifts), "{shifts}");
        assert!((16..20).contains(&places(&steering, 1)));
        assert_eq!((places(&steering, 0), places(&steering, 2)), (32, 32));
        assert_eq!(steering.v4.places, before.v4.places);
        let two = Steering::of_device(&KEY, &[0, 1], 2).unwrap();
        assert!(two.shifted(Family::V4, 0, 1, 2).is_none());
    }

    #[test]
    fn flows_are_spread_over_any_number_of_workers_whatever_the_key() {
        let mut rng = Rng::new(3);
        for workers in [1, 2, 3, 7, 16] {
            let mut key = [0; 52];
            for byte in &mut key {
                *byte = rng.next_u64() as u8;
            }
            let steering = Steering::in_software(&key, workers).unwrap();
            let mut owned = vec![0u32; usize::from(workers)];
            for _ in 0..16_000 {
                let bits = rng.next_u64();
                let remote = ([10, 0, bits as u8, (bits >> 8) as u8], (bits >> 16) as u16);
                let flow = FlowKey::new(0, ([10, 9, 9, 9], 80).into(), remote.into());
                owned[usize::from(steering.owner(&flow))] += 1;
            }
            let fair = 16_000 / u32::from(workers);
            for (worker, owned) in owned.iter().enumerate() {
                assert!(
                    (fair * 3 / 4..=fair * 5 / 4).contains(owned),
                    "{workers} {worker} {owned}"
                );
            }
        }
    }
}

//! How a device steers, judged by where the first frames of connections land: what it says of its key and
//! table is a claim, which these bear out or refute. Where they refute it, or there is none, the table is
//! found from them, if the key is known.

use std::collections::{HashSet, VecDeque};

use super::{KEY_MIN, Steering, Toeplitz};
use crate::key::FlowKey;

/// First frames by which a steering is judged: chance makes two workers look steered rightly once in 10^11.
const JUDGED: usize = 64;

/// Of these, those that have to land where a steering says.
const ENOUGH: usize = JUDGED * 9 / 10;

/// The same for a table that is found: nearly all, so that hardly a place of it is still unknown.
const ENOUGH_TO_LEARN: usize = JUDGED - 1;

/// Connections that they have to be of: the same one again and again says nothing.
const DISTINCT: usize = JUDGED / 2;

/// First frames that are remembered: enough to see each of the 512 places of the longest table.
const KEPT: usize = 4_096;

/// The longest table that devices have (`RTE_ETH_RSS_RETA_SIZE_512`).
const TABLE_MAX: usize = 512;

/// The first frame of a connection: a client's SYN, or the answer to ours.
#[derive(Debug, Clone, Copy)]
pub struct First {
    /// The connection.
    pub key: FlowKey,
    /// The worker whose queue it came in by.
    pub worker: u16,
}

/// What a device says, or what it was told.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Key of its hash.
    pub key: &'a [u8],
    /// The worker for each value of the hash's lowest bits; empty where it does not say.
    pub table: &'a [u16],
}

/// How a steering was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// By the device's word, borne out.
    Claimed,
    /// Its key by its word, its table from where frames landed.
    Learned,
}

/// What the first frames say.
#[derive(Debug)]
pub enum Verdict {
    /// Not enough yet.
    Open,
    /// They land where the steering in force says.
    Right,
    /// They land where this says.
    By(Steering, Found),
    /// They land where nothing that can be foreseen says.
    Unforeseen,
}

/// First frames of connections of one port and family, the newest last.
#[derive(Debug)]
pub struct Evidence {
    workers: u16,
    firsts: VecDeque<First>,
    /// Those that have come since the last verdict.
    fresh: usize,
}

impl Evidence {
    /// For so many workers with a queue each.
    pub fn new(workers: u16) -> Self {
        Evidence {
            workers,
            firsts: VecDeque::new(),
            fresh: 0,
        }
    }

    /// Takes note of one more.
    pub fn note(&mut self, first: First) {
        if self.firsts.len() == KEPT {
            self.firsts.pop_front();
        }
        self.firsts.push_back(first);
        self.fresh += 1;
    }

    /// Whether there are enough new ones to judge by.
    pub fn is_fresh(&self) -> bool {
        self.fresh >= JUDGED
    }

    /// Judges by the last [`JUDGED`], if all of them are new: `current` is the steering in force, if it is
    /// meant to be the device's.
    pub fn judge(&mut self, current: Option<&Steering>, claims: &[Claim<'_>]) -> Verdict {
        if !self.is_fresh() || !self.are_distinct() {
            return Verdict::Open;
        }
        self.fresh = 0;
        if current.is_some_and(|steering| self.borne_out(|key| steering.owner(key)) >= ENOUGH) {
            return Verdict::Right;
        }
        for claim in claims {
            if let Ok(steering) = Steering::of_device(claim.key, claim.table, self.workers)
                && self.borne_out(|key| steering.owner(key)) >= ENOUGH
            {
                return Verdict::By(steering, Found::Claimed);
            }
        }
        let mut learned = claims.iter().filter_map(|claim| self.learn(claim.key));
        match learned.next() {
            Some(steering) => Verdict::By(steering, Found::Learned),
            None => Verdict::Unforeseen,
        }
    }

    fn judged(&self) -> impl Iterator<Item = &First> {
        self.firsts.iter().rev().take(JUDGED)
    }

    fn are_distinct(&self) -> bool {
        let keys: HashSet<FlowKey> = self.judged().map(|first| first.key).collect();
        keys.len() >= DISTINCT
    }

    /// How many of them land there.
    fn borne_out(&self, owner: impl Fn(&FlowKey) -> u16) -> usize {
        let right = self
            .judged()
            .filter(|first| owner(&first.key) == first.worker);
        right.count()
    }

    /// The shortest table for this key that leads from where earlier frames landed to where the last did.
    fn learn(&self, key: &[u8]) -> Option<Steering> {
        if key.len() < KEY_MIN {
            return None;
        }
        let hash = Toeplitz::new(key);
        let earlier = self.firsts.len().saturating_sub(JUDGED);
        let known: Vec<(u32, u16)> = self
            .firsts
            .iter()
            .take(earlier)
            .map(|first| (hash.of(&first.key), first.worker))
            .collect();
        let mut places = usize::from(self.workers).next_power_of_two();
        while places <= TABLE_MAX {
            let mask = places - 1;
            let mut table: Vec<u16> = (0..places)
                .map(|place| (place % usize::from(self.workers.max(1))) as u16)
                .collect();
            // The newest has the last word.
            for (hash, worker) in &known {
                table[*hash as usize & mask] = *worker;
            }
            if self.borne_out(|key| table[hash.of(key) as usize & mask]) >= ENOUGH_TO_LEARN {
                return Steering::of_hash(hash, &table, self.workers).ok();
            }
            places *= 2;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::steering::Family;

    const KEY: [u8; 52] = [
        0x9b, 0x1c, 0x44, 0xd5, 0x27, 0x83, 0x6e, 0xf0, 0x5a, 0x31, 0xc8, 0x0d, 0x77, 0xe2, 0x96,
        0x4b, 0x12, 0xaf, 0x68, 0xd3, 0x39, 0x85, 0xfe, 0x50, 0xc1, 0x2a, 0x74, 0x9d, 0x0b, 0xe6,
        0x53, 0xb8, 0x47, 0x91, 0x2c, 0xda, 0x6f, 0x08, 0xe5, 0x3a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
        11, 12,
    ];

    /// A device, and clients that connect to what is behind it.
    struct Device {
        rng: Rng,
        family: Family,
        evidence: Evidence,
    }

    impl Device {
        fn new(family: Family, workers: u16) -> Self {
            Device {
                rng: Rng::new(7),
                family,
                evidence: Evidence::new(workers),
            }
        }

        fn connect(&mut self, connections: usize, worker: impl Fn(&FlowKey, &mut Rng) -> u16) {
            for _ in 0..connections {
                let bits = self.rng.next_u64();
                let (host, port) = (bits as u16, (bits >> 16) as u16);
                let (local, remote) = match self.family {
                    Family::V4 => (
                        ([10, 9, 9, 9], 80).into(),
                        ([10, 0, host as u8, 1], port).into(),
                    ),
                    Family::V6 => (
                        ([0xfd00, 0, 0, 0, 0, 0, 0, 9], 80).into(),
                        ([0xfd00, 1, 0, 0, 0, 0, 0, host], port).into(),
                    ),
                };
                let key = FlowKey::new(0, local, remote);
                let worker = worker(&key, &mut self.rng);
                self.evidence.note(First { key, worker });
            }
        }
    }

    fn claim(table: &[u16]) -> Claim<'_> {
        Claim { key: &KEY, table }
    }

    fn table(places: usize, of: impl Fn(usize) -> usize) -> Vec<u16> {
        (0..places).map(|place| of(place) as u16).collect()
    }

    #[test]
    fn a_device_that_does_as_it_says_is_found_right() {
        for family in Family::ALL {
            let steering = Steering::of_device(&KEY, &table(128, |n| n % 3), 3).unwrap();
            let mut device = Device::new(family, 3);
            device.connect(63, |key, _| steering.owner(key));
            let judge = |device: &mut Device| device.evidence.judge(Some(&steering), &[]);
            assert!(matches!(judge(&mut device), Verdict::Open));
            device.connect(1, |key, _| steering.owner(key));
            assert!(matches!(judge(&mut device), Verdict::Right));
            // The same ones are not judged twice.
            assert!(matches!(judge(&mut device), Verdict::Open));
        }
    }

    #[test]
    fn another_table_is_found_by_the_devices_word_or_by_where_frames_land() {
        for family in Family::ALL {
            let before = Steering::of_device(&KEY, &table(128, |n| n % 2), 2).unwrap();
            let places = table(128, |n| n / 64);
            let now = Steering::of_device(&KEY, &places, 2).unwrap();
            let mut device = Device::new(family, 2);
            device.connect(200, |key, _| before.owner(key));
            device.connect(64, |key, _| now.owner(key));
            let Verdict::By(found, Found::Claimed) =
                device.evidence.judge(Some(&before), &[claim(&places)])
            else {
                panic!("{device:?}", device = device.evidence);
            };
            // It says the old table still: the new one is seen once most of its places were.
            let mut learned = None;
            for _ in 0..20 {
                device.connect(64, |key, _| now.owner(key));
                let old = table(128, |n| n % 2);
                match device.evidence.judge(Some(&before), &[claim(&old)]) {
                    Verdict::By(steering, Found::Learned) => learned = Some(steering),
                    verdict => assert!(matches!(verdict, Verdict::Unforeseen), "{verdict:?}"),
                }
                if learned.is_some() {
                    break;
                }
            }
            let learned = learned.expect("the table was not found");
            device.connect(1_000, |key, _| {
                assert_eq!(found.owner(key), now.owner(key));
                u16::from(learned.owner(key) == now.owner(key))
            });
            let right = device.evidence.firsts.iter().rev().take(1_000);
            let right: u16 = right.map(|first| first.worker).sum();
            assert!(right > 900, "{right}");
        }
    }

    #[test]
    fn chance_one_queue_and_a_key_of_zeros_are_nothing_to_go_by() {
        let steering = Steering::of_device(&KEY, &table(2, |n| n), 2).unwrap();
        let zeros = [0; 52];
        let claims = [&KEY, &zeros].map(|key| Claim {
            key,
            table: &[0, 1],
        });
        let spreads: [fn(&FlowKey, &mut Rng) -> u16; 2] = [|_, rng| rng.below(2) as u16, |_, _| 0];
        for spread in spreads {
            let mut device = Device::new(Family::V4, 2);
            for _ in 0..20 {
                device.connect(64, spread);
                let verdict = device.evidence.judge(Some(&steering), &claims);
                assert!(matches!(verdict, Verdict::Unforeseen), "{verdict:?}");
            }
        }
    }

    #[test]
    fn the_same_connection_again_and_again_says_nothing() {
        let mut evidence = Evidence::new(2);
        let key = FlowKey::new(0, ([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 5).into());
        (0..1_000).for_each(|_| evidence.note(First { key, worker: 1 }));
        let claims = [Claim {
            key: &KEY,
            table: &[0, 1],
        }];
        assert!(matches!(evidence.judge(None, &claims), Verdict::Open));
        assert!(evidence.firsts.len() <= KEPT);
    }
}

//! What the world of a seed is like.

use sluice_perf::memory::{Setup, Side, Workers};
use sluice_stack::Limits;
use sluice_stack::rng::Rng;

use super::FLOWS;
use crate::links::lanes;

/// What a seed's world is like.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) setup: Setup,
    pub(super) requests: u64,
    /// Links lose, double, delay or damage frames, or backends restart: a request may then fail, but
    /// only in a way that its client is told of.
    pub(super) rough: bool,
    pub(super) restarts: bool,
    pub(super) reloads: bool,
    pub(super) misbehaving: bool,
    /// How flows are steered to workers changes, and with it what devices do.
    pub(super) steering_changes: bool,
}

impl Scene {
    pub(super) fn of(seed: u64) -> Scene {
        let mut rng = Rng::new(seed);
        let level = [0.0, 0.0, 0.01, 0.05, 0.1][rng.below(5) as usize];
        let faults = lanes(&mut rng, level, 3_000);
        let v6 = rng.chance(0.4);
        let mtus = if v6 {
            [1280, 1500, 9000]
        } else {
            [576, 1500, 9000]
        };
        let restarts = rng.chance(0.2);
        let front = Side {
            v6,
            mtu: mtus[rng.below(3) as usize],
            vlan: None,
        };
        let [front, back] = sides(seed, front);
        Scene {
            setup: Setup {
                window: Limits::default().window,
                seed,
                v6,
                mtu: front.mtu,
                vlan: front.vlan,
                back: Some(back),
                faults,
                connections: 1 + rng.below(12) as usize,
                buffer: [16, 20, 64][rng.below(3) as usize] * 1024,
                flows: FLOWS,
                workers: workers(seed),
            },
            requests: 20 + rng.below(80),
            rough: level > 0.0 || restarts,
            restarts,
            reloads: rng.chance(0.3),
            misbehaving: rng.chance(0.5),
            steering_changes: Rng::new(seed ^ 0x7365_6174).chance(0.5),
        }
    }
}

/// In half of the worlds frames of the client's link have a VLAN, in half those of the backend's; in a
/// third the backend's link is one of its own, so that what comes in as IPv4 may go out as IPv6, and large
/// frames as small ones. From a chance of its own as well.
fn sides(seed: u64, front: Side) -> [Side; 2] {
    let mut rng = Rng::new(seed ^ 0x6c61_6e73);
    let mut vlan = || rng.chance(0.5).then(|| 1 + rng.below(4_094) as u16);
    let [near, far] = [vlan(), vlan()];
    let own = rng.chance(0.3);
    let v6 = if own { rng.chance(0.5) } else { front.v6 };
    let mtu = match (own, v6) {
        (true, true) => 1_280 + rng.below(9_216 - 1_280 + 1) as u16,
        (true, false) => 576 + rng.below(9_216 - 576 + 1) as u16,
        (false, _) => front.mtu,
    };
    let back = Side { v6, mtu, vlan: far };
    [
        Side {
            vlan: near,
            ..front
        },
        back,
    ]
}

/// Half of the worlds have several workers, with a queue for each or fewer, and a device that steers
/// right or as it pleases. From a chance of its own, so that a seed's world is otherwise what it was.
fn workers(seed: u64) -> Workers {
    let mut rng = Rng::new(seed ^ 0x3072_6b73);
    let count = [1, 1, 1, 2, 2, 3, 4, 16][rng.below(8) as usize];
    Workers {
        count,
        queues: 1 + rng.below(u64::from(count)) as u16,
        at_random: rng.chance(0.5),
    }
}

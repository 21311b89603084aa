//! What connections hold, to be looked at when there are none: then all of it is back.

use super::Stack;
use crate::io::PacketIo;

impl<P: PacketIo> Stack<P> {
    /// How much is held of what connections need, by name. All of it is zero once they are over and their
    /// records have expired. Looks at everything: for simulations and tests.
    pub fn held(&self) -> [(&'static str, u64); 10] {
        let slots = self.slots.iter().filter(|slot| slot.flow.is_some());
        let neighbours = || self.ports.iter().map(|port| &port.neighbours);
        [
            ("flows", slots.count() as u64),
            ("flow keys", self.keys.len() as u64),
            ("half-open flows", self.half_open.len() as u64),
            ("TIME-WAIT records", self.time_wait.len() as u64),
            ("flow timers", self.timers.armed() as u64),
            (
                "flows to be served",
                (self.ready.len() + self.dirty.len()) as u64,
            ),
            ("buffers", self.pool.lent()),
            ("window memory", self.pool.grown() as u64),
            ("users of neighbours", neighbours().map(|n| n.users()).sum()),
            (
                "frames that wait for neighbours",
                neighbours().map(|n| n.waiting() as u64).sum(),
            ),
        ]
    }
}

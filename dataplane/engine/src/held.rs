//! What connections, requests and calls hold, to be looked at when there are none: then all of it is back.

use sluice_stack::io::PacketIo;

use crate::worker::Worker;

impl<P: PacketIo> Worker<P> {
    /// How much is held of what connections, requests and calls need, by name, the stack's part among it. All
    /// of it is zero once they are over and their records have expired. Looks at everything: for simulations
    /// and tests.
    pub fn held(&self) -> Vec<(&'static str, u64)> {
        let timers = self.down_timers.armed() + self.up_timers.armed() + self.rpc.timers.armed();
        let connections: u32 = self.connections.iter().sum();
        let own = [
            ("client connections", self.downs.len() as u64),
            ("upstream connections", self.ups.len() as u64),
            ("exchanges", self.exchanges.len() as u64),
            ("callers", self.rpc.callers.len() as u64),
            ("channels", self.rpc.channels.len() as u64),
            ("calls", self.rpc.calls.len() as u64),
            ("bytes of calls", self.rpc.held() as u64),
            ("timers", timers as u64),
            ("connections of listeners", u64::from(connections)),
            ("idle upstream connections", self.upstream_idle),
            ("copies of requests", u64::from(self.copies)),
        ];
        own.into_iter().chain(self.stack.held()).collect()
    }
}

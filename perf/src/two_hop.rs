//! Two gateways in one thread, one behind the other: what a request costs that passes the proxy of its client's
//! host and that of its service's. They take turns, so a machine needs no core for each.

use std::time::Duration;

use sluice_engine::Worker;
use sluice_stack::Buffers;
use sluice_stack::sim::{Net, SimPort};
use sluice_stack::time::Instant;

use crate::backend::Backend;
use crate::client::{Client, Workload};
use crate::memory::{Colleague, Setup, colleague, compiled, endpoints, hosts};

/// Client, two gateways and a backend with their links and clock.
pub struct TwoHop {
    /// The links and the clock.
    pub net: Net,
    /// The client.
    pub client: Client<SimPort>,
    /// The gateway beside the client, and the one beside the backend.
    pub gateways: [Colleague; 2],
    /// The backend.
    pub backend: Backend<SimPort>,
}

/// The rules of a gateway that takes what comes in at `front` to `endpoints`.
fn rules(setup: &Setup, front: &str, back: &str, endpoints: &str) -> String {
    format!(
        r#"
ports:
  front: {{ device: "net_memory0", addresses: ["{front}/24"], mtu: {mtu} }}
  back: {{ device: "net_memory1", addresses: ["{back}/24"], mtu: {mtu} }}
listeners:
  web: {{ address: "{front}:80", buffer: {buffer}B, max_connections: 100000 }}
services:
  next: {{ endpoints: [{endpoints}], max_connections: 100000, max_idle: 100000 }}
routes:
  - {{ service: next }}
"#,
        mtu = setup.mtu,
        buffer = setup.buffer,
    )
}

impl TwoHop {
    /// Builds all of it, over IPv4.
    ///
    /// # Errors
    /// The rules don't compile: the problems as text.
    pub fn new(setup: &Setup) -> Result<TwoHop, String> {
        let setup = Setup {
            v6: false,
            ..setup.clone()
        };
        let mut net = Net::new(setup.seed);
        let (client, near_front) = net.link(setup.mtu, setup.faults[0]);
        let (near_back, far_front) = net.link(setup.mtu, Default::default());
        let (backend, far_back) = net.link(setup.mtu, setup.faults[1]);
        let [first, second] = endpoints(false);
        let near = rules(&setup, "10.77.1.1", "10.77.3.1", "\"10.77.3.2:80\"");
        let to_backend = format!("\"{first}\", \"{second}\"");
        let far = rules(&setup, "10.77.3.2", "10.77.2.1", &to_backend);
        let (near, far) = (compiled(&near, 1)?, compiled(&far, 1)?);
        let buffers = Buffers {
            receive: setup.buffer,
            send: setup.buffer,
        };
        let target = near.listeners[0].addresses[0];
        let [client, backend] = hosts(&setup, [client, backend]);
        let near = colleague(&setup, 0, &near, [near_front, near_back], None);
        let far = colleague(&setup, 1, &far, [far_front, far_back], None);
        Ok(TwoHop {
            net,
            client: Client::new(client, target, setup.connections, buffers),
            gateways: [near, far],
            backend: Backend::new(backend, &endpoints(false), buffers),
        })
    }

    /// One turn of everything at the present time, until no frame moves any more; `poll` runs the
    /// gateways' polls.
    pub fn turn<W: Workload>(
        &mut self,
        workload: &mut W,
        mut poll: impl FnMut(&mut Worker<SimPort>, Instant),
    ) {
        let now = self.net.now();
        for _ in 0..1_000 {
            let [near, far] = &mut self.gateways;
            let mut frames = self.client.poll_once(workload, now);
            poll(&mut near.worker, now);
            poll(&mut far.worker, now);
            frames += self.backend.poll_once(now);
            poll(&mut far.worker, now);
            poll(&mut near.worker, now);
            let arrived = self.net.next_arrival().is_some_and(|at| at <= now);
            if frames == 0 && !arrived {
                break;
            }
        }
    }

    /// Moves the clock to the next thing that happens, at most `step` ahead.
    pub fn advance(&mut self, step: Duration) {
        let now = self.net.now();
        let gateways = self.gateways.iter();
        let next = [
            self.net.next_arrival(),
            self.client.next_wake(),
            self.backend.next_wake(),
        ];
        let next = next
            .into_iter()
            .chain(gateways.map(|gateway| gateway.worker.next_wake()))
            .flatten()
            .min()
            .unwrap_or(Instant::NEVER);
        let earliest = now + Duration::from_micros(10);
        self.net.advance_to(next.max(earliest).min(now + step));
    }
}

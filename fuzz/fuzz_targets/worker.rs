//! The whole gateway in memory between a client and a backend that send what the fuzzer likes, when
//! it likes. Nothing may panic, every frame has one fate, and nothing is left when all have gone.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sluice_perf::memory::{Setup, rules};
use sluice_perf::scripted::Scripted;

fuzz_target!(|data: &[u8]| {
    let setup = Setup { connections: 4, buffer: 16 * 1024, flows: 64, ..Setup::default() };
    let Ok(mut world) = Scripted::new(&setup, &rules(&setup)) else { return };
    let mut clients = Vec::new();
    let mut rest = data;
    while let [operation, length, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let now = world.now();
        let client = clients.last().copied();
        let backend = world.backend.connections().checked_sub(1);
        match (operation % 8, client, backend) {
            (0, _, _) if clients.len() < 8 => {
                let (target, buffers) = (world.target, world.buffers);
                clients.extend(world.client.open(target, buffers, now));
            }
            (1, Some(client), _) => world.client.send(client, bytes, now),
            (2, Some(client), _) => world.client.finish(client, now),
            (3, Some(client), _) => world.client.reset(client, now),
            (4, _, Some(backend)) => world.backend.send(backend, bytes, now),
            (5, _, Some(backend)) => world.backend.finish(backend, now),
            (6, _, Some(backend)) => world.backend.reset(backend, now),
            (7, _, _) => world.pass(Duration::from_millis(u64::from(*length) * 50)),
            _ => {}
        }
        world.settle();
    }
    let now = world.now();
    world.client.close_all(now);
    world.backend.close_all(now);
    world.pass(Duration::from_secs(300));
    world.worker.publish_ports();
    let stats = &world.stats;
    let received: u64 = stats.ports.iter().map(|port| port.get().rx_frames).sum();
    assert_eq!(received, stats.stack.frames.sum(), "{stats:?}");
    let left = [&stats.stack.flows, &stats.downstream, &stats.upstream, &stats.exchanges];
    assert!(left.iter().all(|gauge| gauge.get() == 0), "{stats:?}");
});

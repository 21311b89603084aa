//! memif between two processes, one of which is killed again and again in the middle of it.

mod common;

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use common::{open, pool};
use dpdk::{Eal, EalConfig, Mbuf, OpenPort, Pool, Port, RxQueue, TxQueue};

/// Set in the process of [`the_other_side`]: the device it opens.
const DEVICE: &str = "SLUICE_TEST_MEMIF_DEVICE";

const KILLS: usize = 5;
const WITHIN: Duration = Duration::from_secs(60);

/// All of its threads on one core, and those of the other side with them, so that DPDK's interrupt thread gets
/// its turn in the middle of bursts.
fn eal() -> Eal {
    let config = EalConfig {
        memory_mib: 32,
        cpus: vec![0],
        ..EalConfig::default()
    };
    Eal::start(&config).unwrap_or_else(|error| panic!("{error}"))
}

/// Frames received and sent in a burst, and those left for the next.
fn burst(pool: &Pool, (rx, tx): &mut (RxQueue, TxQueue), out: &mut ArrayVec<Mbuf, 32>) -> usize {
    while !out.is_full() {
        let Some(mut mbuf) = pool.alloc() else {
            break;
        };
        mbuf.resize(1000).unwrap().fill(7);
        out.push(mbuf);
    }
    tx.send(out);
    let mut frames: ArrayVec<Mbuf, 32> = ArrayVec::new();
    rx.receive(&mut frames, 32)
}

/// Not a test but the process that gets killed; does nothing unless a test starts it.
#[test]
fn the_other_side() {
    let Ok(device) = std::env::var(DEVICE) else {
        return;
    };
    let eal = eal();
    let pool = pool(&eal, 4095);
    let mut opened = open(&device, std::slice::from_ref(&pool)).unwrap();
    let (mut out, until) = (ArrayVec::new(), Instant::now() + WITHIN);
    while Instant::now() < until {
        burst(&pool, &mut opened.queues[0], &mut out);
    }
}

fn other_side(device: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_side"])
        .env(DEVICE, device)
        .spawn()
        .unwrap()
}

/// Polls until `done`.
fn poll(
    pool: &Pool,
    queues: &mut (RxQueue, TxQueue),
    port: &Port,
    done: impl Fn(bool, usize) -> bool,
) {
    let (mut out, mut received) = (ArrayVec::new(), 0);
    let until = Instant::now() + WITHIN;
    loop {
        for _ in 0..64 {
            received += burst(pool, queues, &mut out);
        }
        let up = port.link().up;
        if done(up, received) {
            return;
        }
        assert!(Instant::now() < until, "link {up}, {received} frames");
    }
}

/// Frames pass again after each death, and the bursts under way at that moment do no harm.
fn survives(role: &str, other: &str) {
    let socket = std::env::temp_dir().join(format!("sluice-{role}-{}.sock", std::process::id()));
    let device = |name: &str, role: &str| {
        let socket = socket.display();
        format!("{name},role={role},id=5,socket-abstract=no,socket={socket}")
    };
    let eal = eal();
    let pool = pool(&eal, 4095);
    let opened = open(&device("net_memif0", role), std::slice::from_ref(&pool));
    let OpenPort { port, mut queues } = opened.unwrap();
    let mut queues = queues.remove(0);
    assert!(!port.link().up, "nobody is there yet");
    for _ in 0..KILLS {
        let mut child = other_side(&device("net_memif1", other));
        poll(&pool, &mut queues, &port, |up, received| {
            up && received > 20_000
        });
        child.kill().unwrap();
        poll(&pool, &mut queues, &port, |up, _| !up);
        child.wait().unwrap();
    }
    assert_eq!(port.info().device, device("net_memif0", role));
    drop((queues, port));
    assert!(role == "client" || !socket.exists());
    std::fs::remove_file(&socket).unwrap_or_default();
}

#[test]
fn a_server_survives_clients_that_are_killed() {
    survives("server", "client");
}

#[test]
fn a_client_survives_servers_that_are_killed_and_comes_back_to_the_next() {
    survives("client", "server");
}

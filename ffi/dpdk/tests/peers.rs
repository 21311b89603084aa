//! memif and vhost between two processes, one of which is killed again and again in the middle of it, and comes
//! back with fewer queues.

mod common;

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use common::{open, pool};
use dpdk::{Eal, EalConfig, Mbuf, OpenPort, PeerQueues, Pool, Port, RxQueue, TxQueue};

/// Set in the process of [`the_other_side`]: the device it opens.
const DEVICE: &str = "SLUICE_TEST_PEER_DEVICE";

/// The same: how many queues it has.
const QUEUES: &str = "SLUICE_TEST_PEER_QUEUES";

const KILLS: usize = 5;
const WITHIN: Duration = Duration::from_secs(60);

/// All of its threads on one core, and those of the other side with them, so that DPDK's interrupt thread gets
/// its turn in the middle of bursts.
fn eal() -> Eal {
    let config = EalConfig {
        memory_mib: 32,
        cpus: vec![0],
        // The memory of a virtio_user is its peer's too.
        single_file_segments: true,
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
    let queues: usize = std::env::var(QUEUES).unwrap().parse().unwrap();
    let eal = eal();
    let pools = vec![pool(&eal, 4095); queues];
    let mut opened = open(&device, &pools).unwrap();
    let mut out: Vec<_> = (0..queues).map(|_| ArrayVec::new()).collect();
    let until = Instant::now() + WITHIN;
    while Instant::now() < until {
        for (queues, out) in opened.queues.iter_mut().zip(&mut out) {
            burst(&pools[0], queues, out);
        }
    }
}

fn other_side(device: &str, queues: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_side"])
        .env(DEVICE, device)
        .env(QUEUES, queues.to_string())
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

/// The device of either side on a socket of the test's own.
fn device(test: &str, name: &str, role: &str) -> String {
    let socket = socket(test);
    let socket = socket.display();
    format!("{name},role={role},id=5,socket-abstract=no,socket={socket}")
}

fn socket(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("sluice-{test}-{}.sock", std::process::id()))
}

/// Frames pass again after each death, and the bursts under way at that moment do no harm.
fn survives(role: &str, other: &str) {
    let socket = socket(role);
    let device = |name: &str, role_of: &str| device(role, name, role_of);
    let eal = eal();
    let pool = pool(&eal, 4095);
    let opened = open(&device("net_memif0", role), std::slice::from_ref(&pool));
    let OpenPort { port, mut queues } = opened.unwrap();
    let mut queues = queues.remove(0);
    assert!(!port.link().up, "nobody is there yet");
    for _ in 0..KILLS {
        let mut child = other_side(&device("net_memif1", other), 1);
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

/// Both queues carry frames where the other side has both; where it has one, nothing comes by the second or is
/// taken by it, and the first goes on. `other` is the device of the other side, of so many queues.
fn keeps_to_the_queues_of_its_peer(
    device: &str,
    other: impl Fn(usize) -> String,
    queues_of_peer: &[usize],
) {
    let eal = eal();
    let pool = pool(&eal, 8191);
    let opened = open(device, &[pool.clone(), pool.clone()]);
    let OpenPort { port, mut queues } = opened.unwrap();
    for &peer in queues_of_peer {
        let mut child = other_side(&other(peer), peer);
        let (mut out, mut received) = ([const { ArrayVec::new_const() }; 2], [0; 2]);
        let until = Instant::now() + WITHIN;
        while received.iter().take(peer).any(|count| *count < 2_000) {
            for queue in 0..2 {
                received[queue] += burst(&pool, &mut queues[queue], &mut out[queue]);
            }
            assert!(Instant::now() < until, "{peer} queues: {received:?}");
        }
        let (receive, transmit) = (peer as u16, peer as u16);
        let both = PeerQueues { receive, transmit };
        assert_eq!(port.peer_queues(), Some(both));
        let left_out = [&queues[0], &queues[1]].map(|(_, tx)| tx.is_left_out());
        assert_eq!(left_out, [false, peer == 1]);
        if peer == 1 {
            assert_eq!((received[1], out[1].len()), (0, 32));
        }
        child.kill().unwrap();
        poll(&pool, &mut queues[0], &port, |up, _| !up);
        child.wait().unwrap();
        assert_eq!(port.peer_queues(), Some(PeerQueues::default()));
    }
    drop((queues, port));
}

/// The same between two of memif.
fn of_memif(role: &str, other: &str, queues_of_peer: &[usize]) {
    let name = format!("queues-{role}");
    let [device, other] = [("net_memif0", role), ("net_memif1", other)]
        .map(|(device_name, role)| device(&name, device_name, role));
    keeps_to_the_queues_of_its_peer(&device, |_| other.clone(), queues_of_peer);
    std::fs::remove_file(socket(&name)).unwrap_or_default();
}

#[test]
fn a_memif_server_keeps_to_the_queues_that_its_client_has() {
    of_memif("server", "client", &[2, 1]);
}

#[test]
fn a_memif_client_keeps_to_the_queues_that_its_server_has() {
    of_memif("client", "server", &[1, 2]);
}

#[test]
fn a_vhost_keeps_to_the_queues_that_its_virtio_user_has() {
    let socket = socket("vhost");
    let socket = socket.display();
    keeps_to_the_queues_of_its_peer(
        &format!("net_vhost0,queues=2,iface={socket}"),
        |queues| format!("net_virtio_user0,queues={queues},path={socket}"),
        &[1, 2, 1],
    );
}

#[test]
fn a_server_survives_clients_that_are_killed() {
    survives("server", "client");
}

#[test]
fn a_client_survives_servers_that_are_killed_and_comes_back_to_the_next() {
    survives("client", "server");
}

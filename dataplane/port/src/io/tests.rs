//! On `net_ring`, which gives back what is sent. EAL starts once per process: run with
//! `cargo nextest run`.

use dpdk::{Eal, EalConfig};
use sluice_stack::io::{L3, RxChecksum, RxFrame, TxFrame};

use super::*;
use crate::{Device, OpenedPort, PortConfig, open};

fn eal() -> Eal {
    let config = EalConfig {
        memory_mib: 32,
        ..EalConfig::default()
    };
    Eal::start(&config).unwrap_or_else(|error| panic!("{error}"))
}

fn ring(eal: &Eal, pool_size: u32) -> OpenedPort {
    vdev(eal, "net_ring0", pool_size)
}

fn vdev(eal: &Eal, device: &str, pool_size: u32) -> OpenedPort {
    let device = Device::Vdev(device.to_owned());
    let config = PortConfig {
        device,
        mtu: 1500,
        workers: 1,
        nodes: Vec::new(),
        queues: 1,
        descriptors: 64,
        pool_size,
        large_frames: 31,
        offload: true,
    };
    open(eal.handle(), &config).unwrap_or_else(|error| panic!("{error}"))
}

const NO_WORK: TxMeta = TxMeta {
    l2_len: 14,
    l3_len: 0,
    l3: L3::None,
    tcp: false,
    segment: 0,
};
const TCP_V4: TxMeta = TxMeta {
    l2_len: 14,
    l3_len: 20,
    l3: L3::V4,
    tcp: true,
    segment: 0,
};

/// A SYN from 10.77.1.2 to 10.77.1.1, with right checksums.
const SYN: [u8; 54] = [
    0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0, // Ethernet
    0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0x24, 0x33, 10, 77, 1, 2, 10, 77, 1, 1, // IPv4
    0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0xfc, 0xb4, 0,
    0, // TCP
];

fn send(io: &mut DpdkIo, bytes: &[u8], meta: TxMeta) {
    let mut frame = io.alloc().unwrap();
    frame.fill(bytes.len()).copy_from_slice(bytes);
    io.send(frame, meta);
}

/// Asserts everything but the cycles.
#[track_caller]
fn assert_stats(io: &DpdkIo, expected: IoStats) {
    let driver_cycles = io.stats().driver_cycles;
    assert_eq!(
        io.stats(),
        IoStats {
            driver_cycles,
            ..expected
        }
    );
}

#[test]
fn a_frame_comes_back_as_sent_and_is_counted() {
    let eal = eal();
    let mut opened = ring(&eal, 1023);
    let io = &mut opened.ios[0];
    let mut burst = RxBurst::new();
    assert_eq!(io.rx_burst(&mut burst), 0);
    let bytes = [&SYN[..], &[7; 100]].concat();
    send(io, &bytes, TCP_V4);
    assert_eq!(io.rx_burst(&mut burst), 0, "a frame waits for the flush");
    io.flush();
    let before = io.stats().driver_cycles;
    assert_eq!(io.rx_burst(&mut burst), 1);
    assert!(io.stats().driver_cycles > before);
    assert_eq!(burst[0].bytes(), bytes, "no offloads: nothing is touched");
    assert_eq!(burst[0].checksum(), RxChecksum::Unknown);
    let (rx_bytes, tx_bytes) = (154, 154);
    assert_stats(
        io,
        IoStats {
            rx_frames: 1,
            rx_bytes,
            tx_frames: 1,
            tx_bytes,
            ..Default::default()
        },
    );
}

#[test]
fn a_runt_is_padded_with_zeros() {
    let eal = eal();
    let mut opened = ring(&eal, 1023);
    let io = &mut opened.ios[0];
    // Buffers come back dirty.
    let dirty: Vec<_> = std::iter::from_fn(|| io.alloc()).collect();
    for mut frame in dirty {
        frame.fill(60).fill(0xff);
    }
    send(io, &SYN, TCP_V4);
    io.flush();
    let mut burst = RxBurst::new();
    assert_eq!(io.rx_burst(&mut burst), 1);
    assert_eq!(burst[0].bytes(), [&SYN[..], &[0; 6]].concat());
}

#[test]
fn a_device_that_fills_in_checksums_gets_the_pseudo_header() {
    let eal = eal();
    let mut opened = ring(&eal, 1023);
    let io = &mut opened.ios[0];
    // net_ring has no offloads; the frame still shows what one that has them would be given.
    io.caps.tx_ipv4_checksum = true;
    io.caps.tx_tcp_checksum = true;
    send(io, &SYN, TCP_V4);
    send(
        io,
        &SYN,
        TxMeta {
            tcp: false,
            ..TCP_V4
        },
    );
    io.flush();
    let mut burst = RxBurst::new();
    assert_eq!(io.rx_burst(&mut burst), 2);
    let mut expected = SYN;
    expected[24..26].copy_from_slice(&[0, 0]);
    assert_eq!(burst[1].bytes()[..54], expected);
    // 0a4d + 0102 + 0a4d + 0101 + 6 + 20 = 16b7
    expected[50..52].copy_from_slice(&[0x16, 0xb7]);
    assert_eq!(burst[0].bytes()[..54], expected);
}

#[test]
fn a_full_batch_goes_out_by_itself_and_bursts_respect_their_room() {
    let eal = eal();
    let mut opened = ring(&eal, 1023);
    let io = &mut opened.ios[0];
    for n in 0..BURST as u8 + 1 {
        send(io, &[n; 64], NO_WORK);
    }
    assert_eq!(io.stats().tx_frames, BURST as u64);
    io.flush();
    let mut burst = RxBurst::new();
    assert_eq!(io.rx_burst(&mut burst), BURST);
    assert_eq!(io.rx_burst(&mut burst), 0, "there is no room");
    burst.truncate(BURST - 3);
    assert_eq!(io.rx_burst(&mut burst), 1);
    let marks: Vec<u8> = burst.iter().map(|frame| frame.bytes()[0]).collect();
    assert_eq!(marks[..29], (0..29).collect::<Vec<_>>());
    assert_eq!(marks[29], 32);
}

#[test]
fn an_empty_pool_gives_no_buffer_and_recovers() {
    let eal = eal();
    let mut opened = ring(&eal, 255);
    let io = &mut opened.ios[0];
    let all: Vec<DpdkTx> = std::iter::from_fn(|| io.alloc()).collect();
    assert_eq!(all.len(), 255);
    assert!(io.alloc().is_none());
    assert_stats(
        io,
        IoStats {
            tx_no_buffer: 2,
            ..Default::default()
        },
    );
    drop(all);
    assert!(io.alloc().is_some());
}

#[test]
fn what_a_full_device_refuses_is_dropped_and_counted() {
    let eal = eal();
    let mut opened = ring(&eal, 2047);
    let pool = opened.pools[0].clone();
    let io = &mut opened.ios[0];
    let sent = 33 * BURST as u64;
    for _ in 0..sent {
        send(io, &[1; 64], NO_WORK);
    }
    // A ring of net_ring takes 1023 frames.
    let (tx_frames, tx_full) = (1023, sent - 1023);
    assert_stats(
        io,
        IoStats {
            tx_frames,
            tx_bytes: 64 * 1023,
            tx_full,
            ..Default::default()
        },
    );
    let spare = io.spare.len() as u32;
    assert_eq!(pool.available() + spare, pool.capacity() - 1023);
}

/// Peers such as the kernel's vhost send frames of several segments of TCP in one; net_vhost of DPDK does where it
/// is told to, which its driver doesn't offer.
#[test]
fn virtio_user_takes_large_frames_in_one_piece() {
    let config = EalConfig {
        memory_mib: 64,
        single_file_segments: true,
        ..EalConfig::default()
    };
    let eal = Eal::start(&config).unwrap_or_else(|error| panic!("{error}"));
    let socket = std::env::temp_dir().join(format!("sluice-large-{}", std::process::id()));
    let socket = socket.display();
    let mut vhost = vdev(&eal, &format!("net_vhost0,iface={socket},tso=1"), 1023);
    let mut user = vdev(
        &eal,
        &format!("net_virtio_user0,path={socket},queues=1"),
        1023,
    );
    let (pool, vhost, user) = (vhost.pools[0].clone(), &mut vhost.ios[0], &mut user.ios[0]);
    let part = |bytes: &[u8]| {
        let mut mbuf = pool.alloc().unwrap();
        mbuf.resize(bytes.len()).unwrap().copy_from_slice(bytes);
        mbuf
    };
    let mut bytes = SYN.to_vec();
    bytes.resize(54 + 20_000, 9);
    bytes[16..18].copy_from_slice(&20_040u16.to_be_bytes());
    let mut burst = RxBurst::new();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while user.rx_burst(&mut burst) == 0 {
        assert!(std::time::Instant::now() < deadline);
        let mut frame = part(&bytes[..1_500]);
        for piece in bytes[1_500..].chunks(1_500) {
            frame.chain(part(piece)).unwrap();
        }
        frame.set_tx_offload(Some(dpdk::TxOffload {
            l2_len: 14,
            l3_len: 20,
            ip: dpdk::IpOffload::V4 { checksum: false },
            tcp_checksum: true,
            segmentation: Some(dpdk::Segmentation {
                l4_len: 20,
                payload: 1_460,
            }),
        }));
        vhost.queued.push(frame);
        vhost.flush();
        std::thread::yield_now();
    }
    // The checksums are vhost's to fill in.
    let mut got = burst[0].bytes().to_vec();
    for field in [24..26, 50..52] {
        got[field.clone()].copy_from_slice(&bytes[field]);
    }
    assert!(got == bytes, "{:?}", &got[..80]);
    let stats = user.stats();
    assert!(stats.rx_large >= 1 && stats.rx_linearised == stats.rx_large);
    assert_eq!(stats.rx_unusable, 0);
}

#[test]
fn segments_become_one_frame_or_are_dropped_and_counted() {
    let eal = eal();
    let mut opened = ring(&eal, 1023);
    let pool = opened.pools[0].clone();
    let io = &mut opened.ios[0];
    let segment = |len: usize, mark: u8| {
        let mut mbuf = pool.alloc().unwrap();
        mbuf.resize(len).unwrap().fill(mark);
        mbuf
    };
    let mut fits = segment(1000, 1);
    fits.chain(segment(500, 2)).unwrap();
    let mut too_long = segment(2000, 3);
    too_long.chain(segment(2000, 4)).unwrap();
    io.queued.extend([fits, too_long, segment(64, 5)]);
    io.flush();
    let mut burst = RxBurst::new();
    assert_eq!(io.rx_burst(&mut burst), 2);
    assert_eq!(burst[0].bytes(), [[1; 1000].as_slice(), &[2; 500]].concat());
    assert_eq!(burst[1].bytes(), [5; 64]);
    let tx_bytes = 1500 + 4000 + 64;
    let expected = IoStats {
        rx_frames: 2,
        rx_bytes: 1564,
        tx_frames: 3,
        tx_bytes,
        rx_unusable: 1,
        rx_linearised: 1,
        ..Default::default()
    };
    assert_stats(io, expected);
    assert_eq!(pool.available(), pool.capacity() - 2);
}

//! Checksums left to devices, over the one pair of virtual devices that negotiates them: net_vhost and
//! virtio_user. EAL starts once per process: run with `cargo nextest run`.

use std::time::{Duration, Instant};

use sluice_port::{Device, DpdkIo, Eal, EalConfig, OpenedPort, PortConfig, open};
use sluice_stack::io::{L3, PacketIo, RxBurst, RxChecksum, RxFrame, TxFrame, TxMeta};

const ETHERNET: [u8; 12] = [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];

/// A TCP header with the checksum left out, and 10 bytes of payload.
const TCP: [u8; 30] = [
    0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0,
];

/// From 10.77.1.2 to 10.77.1.1.
fn frame_v4() -> Vec<u8> {
    let ip = [
        0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 6, 0x24, 0x29, 10, 77, 1, 2, 10, 77, 1, 1,
    ];
    [&ETHERNET[..], &[0x08, 0], &ip, &TCP].concat()
}

/// From fd77:1::2 to fd77:1::1.
fn frame_v6() -> Vec<u8> {
    let address = |last| [0xfd, 0x77, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let head = [0x60, 0, 0, 0, 0, 30, 6, 64];
    [
        &ETHERNET[..],
        &[0x86, 0xdd],
        &head,
        &address(2),
        &address(1),
        &TCP,
    ]
    .concat()
}

fn port(eal: &Eal, device: String) -> OpenedPort {
    let device = Device::Vdev(device);
    let config = PortConfig {
        device,
        mtu: 1500,
        workers: 1,
        nodes: Vec::new(),
        queues: 1,
        descriptors: 256,
        pool_size: 2047,
    };
    open(eal.handle(), &config).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends a frame until it comes out on the other side: virtio is not ready at once. The last byte of the
/// source MAC tells it from those sent before, which may still be on their way.
fn carry(
    from: &mut DpdkIo,
    to: &mut DpdkIo,
    (bytes, mark): (&[u8], u8),
    meta: TxMeta,
) -> (Vec<u8>, RxChecksum) {
    let start = Instant::now();
    let mut burst = RxBurst::new();
    while start.elapsed() < Duration::from_secs(10) {
        if let Some(mut frame) = from.alloc() {
            let buffer = frame.fill(bytes.len());
            buffer.copy_from_slice(bytes);
            buffer[MARK] = mark;
            from.send(frame, meta);
            from.flush();
        }
        std::thread::yield_now();
        to.rx_burst(&mut burst);
        if let Some(frame) = burst.drain(..).find(|frame| frame.bytes()[MARK] == mark) {
            return (frame.bytes().to_vec(), frame.checksum());
        }
    }
    panic!("nothing arrived in 10 s");
}

/// The last byte of the source MAC.
const MARK: usize = 11;

#[test]
fn virtio_user_and_vhost_vouch_for_checksums_they_do_not_write() {
    let config = EalConfig {
        memory_mib: 64,
        single_file_segments: true,
        ..EalConfig::default()
    };
    let eal = Eal::start(&config).unwrap_or_else(|error| panic!("{error}"));
    let socket = std::env::temp_dir().join(format!("sluice-offloads-{}", std::process::id()));
    let socket = socket.display();
    let mut vhost = port(&eal, format!("net_vhost0,iface={socket}"));
    let mut user = port(&eal, format!("net_virtio_user0,path={socket},queues=1"));
    assert!(vhost.ios[0].caps().tx_tcp_checksum);
    assert!(user.ios[0].caps().tx_tcp_checksum);
    let v4 = TxMeta {
        l2_len: 14,
        l3_len: 20,
        l3: L3::V4,
        tcp: true,
    };
    let v6 = TxMeta {
        l2_len: 14,
        l3_len: 40,
        l3: L3::V6,
        tcp: true,
    };
    // 0a4d + 0102 + 0a4d + 0101 + 6 + 30, and 2 * (fd77 + 1) + 2 + 1 + 6 + 30, folded
    for (frame, meta, sum) in [
        (frame_v4(), v4, [0x16, 0xc1]),
        (frame_v6(), v6, [0xfb, 0x18]),
    ] {
        let (vhost, user) = (&mut vhost.ios[0], &mut user.ios[0]);
        let mut expected = frame.clone();
        let field = usize::from(meta.l2_len + meta.l3_len) + 16;
        expected[field..field + 2].copy_from_slice(&sum);
        expected[MARK] = sum[1];
        let good = (expected, RxChecksum::Good);
        assert_eq!(carry(user, vhost, (&frame, sum[1]), meta), good);
        assert_eq!(carry(vhost, user, (&frame, sum[1]), meta), good);
    }
    // A wrong IP header is noticed although the device vouches for TCP.
    let mut wrong = frame_v4();
    wrong[22] -= 1;
    let (_, checksum) = carry(&mut vhost.ios[0], &mut user.ios[0], (&wrong, 1), v4);
    assert_eq!(checksum, RxChecksum::Bad);
}

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
    port_that(true, eal, device)
}

fn port_that(offload: bool, eal: &Eal, device: String) -> OpenedPort {
    let device = Device::Vdev(device);
    let config = PortConfig {
        device,
        mtu: 1500,
        workers: 1,
        nodes: Vec::new(),
        queues: 1,
        descriptors: 256,
        pool_size: 2047,
        large_frames: 31,
        offload,
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
        let buffer = match meta.segment {
            0 => from.alloc(),
            _ => from.alloc_large(),
        };
        if let Some(mut frame) = buffer {
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

fn eal() -> Eal {
    let config = EalConfig {
        memory_mib: 64,
        single_file_segments: true,
        ..EalConfig::default()
    };
    Eal::start(&config).unwrap_or_else(|error| panic!("{error}"))
}

/// net_vhost with these arguments, and virtio_user behind it.
fn pair(eal: &Eal, args: &str, offload: bool) -> (OpenedPort, OpenedPort) {
    let socket = format!("sluice-offloads-{}{args}", std::process::id());
    let socket = std::env::temp_dir().join(socket.replace([',', '='], "-"));
    let socket = socket.display();
    let number = u8::from(!args.is_empty()) + u8::from(!offload);
    let vhost = port_that(
        offload,
        eal,
        format!("net_vhost{number},iface={socket}{args}"),
    );
    let user = port(
        eal,
        format!("net_virtio_user{number},path={socket},queues=1"),
    );
    (vhost, user)
}

const V4: TxMeta = TxMeta {
    l2_len: 14,
    l3_len: 20,
    l3: L3::V4,
    tcp: true,
    segment: 0,
};

/// A frame of 60,014 bytes that only the last byte of the source MAC tells from others.
fn large_frame(tag: Option<[u8; 4]>) -> Vec<u8> {
    let mut packet = frame_v4().split_off(14);
    packet.resize(60_000, 0);
    for (place, byte) in packet.iter_mut().enumerate().skip(40) {
        *byte = (place * 31 + place / 251) as u8;
    }
    packet[2..4].copy_from_slice(&60_000u16.to_be_bytes());
    let sum = packet[..20]
        .chunks_exact(2)
        .enumerate()
        .filter(|(place, _)| *place != 5)
        .fold(0u32, |sum, (_, word)| {
            sum + u32::from(u16::from_be_bytes([word[0], word[1]]))
        });
    let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let tag = tag.as_ref().map_or(&[][..], |tag| tag);
    [&ETHERNET[..], tag, &[0x08, 0], &packet].concat()
}

#[test]
fn virtio_user_hands_large_frames_to_vhost_where_that_agreed_to_them() {
    let eal = eal();
    // vhost without `tso=1` has not.
    let (vhost, user) = pair(&eal, "", true);
    assert_eq!(user.ios[0].caps().tx_segmentation, 0);
    assert!(
        !vhost.description.contains("large"),
        "{}",
        vhost.description
    );

    let (mut vhost, mut user) = pair(&eal, ",tso=1", true);
    let (description, caps) = (&user.description, user.ios[0].caps());
    assert!(description.contains("tx-tcp-segmentation"), "{description}");
    assert_eq!(caps.tx_segmentation, 65_389);
    assert_eq!(vhost.ios[0].caps().tx_segmentation, 0);
    let meta = TxMeta {
        segment: 1_460,
        ..V4
    };
    for (l2_len, frame) in [
        (14, large_frame(None)),
        (18, large_frame(Some([0x81, 0, 0, 7]))),
    ] {
        let meta = TxMeta { l2_len, ..meta };
        let (bytes, checksum) = carry(&mut user.ios[0], &mut vhost.ios[0], (&frame, l2_len), meta);
        let mut expected = frame.clone();
        expected[MARK] = l2_len;
        // virtio wants the length in the pseudo header's sum: 1417 (`frame.rs`) and 59,980 more.
        let field = usize::from(l2_len) + 36;
        let sum = 0x0a4d + 0x0102 + 0x0a4d + 0x0101 + 6 + 59_980u32;
        let sum = ((sum >> 16) + (sum & 0xffff)) as u16;
        expected[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        assert!(bytes == expected, "{:?}", &bytes[..80]);
        assert_eq!(checksum, RxChecksum::Good);
    }
    let (sent, got) = (user.ios[0].stats(), vhost.ios[0].stats());
    assert!(sent.tx_large >= 2 && sent.tx_large == sent.tx_frames + sent.tx_full);
    assert!(got.rx_large >= 2 && got.rx_linearised == got.rx_large);
    assert_eq!((got.rx_large, got.rx_unusable), (got.rx_frames, 0));

    // The buffers for them are bounded, and ordinary ones are not touched.
    let all: Vec<_> = std::iter::from_fn(|| user.ios[0].alloc_large()).collect();
    assert!(all.len() <= 31, "{}", all.len());
    assert_eq!(user.ios[0].stats().tx_no_large, 1);
    assert!(user.ios[0].alloc().is_some());
}

#[test]
fn a_port_that_leaves_nothing_to_its_device_refuses_large_frames_and_counts_them() {
    let eal = eal();
    let (mut vhost, mut user) = pair(&eal, ",tso=1", false);
    assert!(vhost.description.ends_with("offloads: none"));
    let (vhost, user) = (&mut vhost.ios[0], &mut user.ios[0]);
    let caps = vhost.caps();
    assert_eq!((caps.tx_tcp_checksum, caps.tx_segmentation), (false, 0));
    let (frame, mut burst) = (large_frame(None), RxBurst::new());
    let deadline = Instant::now() + Duration::from_secs(10);
    while vhost.stats().rx_unusable == 0 {
        assert!(Instant::now() < deadline, "nothing arrived in 10 s");
        if let Some(mut large) = user.alloc_large() {
            large.fill(frame.len()).copy_from_slice(&frame);
            let segment = 1_460;
            user.send(large, TxMeta { segment, ..V4 });
            user.flush();
        }
        std::thread::yield_now();
        assert_eq!(vhost.rx_burst(&mut burst), 0);
    }
    // What is not large still passes.
    let (bytes, checksum) = carry(user, vhost, (&frame_v4(), 5), V4);
    assert_eq!((bytes.len(), checksum), (64, RxChecksum::Good));
}

#[test]
fn virtio_user_and_vhost_vouch_for_checksums_they_do_not_write() {
    let eal = eal();
    let (mut vhost, mut user) = pair(&eal, "", true);
    assert!(vhost.ios[0].caps().tx_tcp_checksum);
    assert!(user.ios[0].caps().tx_tcp_checksum);
    let v6 = TxMeta {
        l2_len: 14,
        l3_len: 40,
        l3: L3::V6,
        tcp: true,
        segment: 0,
    };
    // 0a4d + 0102 + 0a4d + 0101 + 6 + 30, and 2 * (fd77 + 1) + 2 + 1 + 6 + 30, folded
    for (frame, meta, sum) in [
        (frame_v4(), V4, [0x16, 0xc1]),
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
    let (_, checksum) = carry(&mut vhost.ios[0], &mut user.ios[0], (&wrong, 1), V4);
    assert_eq!(checksum, RxChecksum::Bad);
}

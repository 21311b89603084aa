//! Frames with VLAN tags (IEEE 802.1Q): those of the port's VLAN are all there is for it.

use sluice_stack::fate::FrameFate;
use sluice_stack::{Buffers, Limits};

use crate::peer::*;

const VLAN: u16 = 0x123;
const OWN: [u8; 4] = [0x81, 0x00, 0x01, 0x23];

fn on_vlan() -> Peer {
    Peer::on(Some(VLAN), Limits::default(), Buffers::default())
}

/// What becomes of a SYN behind these bytes: its fate, and whether it is answered.
fn syn_behind(peer: &mut Peer, tags: &[u8]) -> (FrameFate, bool) {
    peer.tags = tags.to_vec();
    let before = peer.fates();
    let answer = peer.play(Segment {
        flags: SYN,
        seq: u32::MAX,
        ..Segment::default()
    });
    let fates = peer.fates_since(&before);
    let &[(fate, 1)] = &fates[..] else {
        panic!("one fate, not {fates:?}");
    };
    (fate, !answer.is_empty())
}

#[test]
fn on_a_vlan_every_frame_carries_its_tag() {
    // Each frame that is taken is looked at for it.
    let mut peer = on_vlan();
    peer.accept(WITH_SACK);
    assert_eq!(
        peer.write(3 * MSS).len(),
        3,
        "the tag takes nothing from a packet"
    );
    peer.ack(3 * MSS, &[]);
    peer.data(0, 100);
    assert_eq!(peer.read().len(), 100);
    let mut outgoing = on_vlan();
    assert_eq!(outgoing.connect().flags, SYN);
}

#[test]
fn on_a_vlan_ping_is_answered_and_routers_are_believed() {
    let mut peer = on_vlan();
    // Echo request, its checksum computed by hand: 0x0800 + 1 + 2 inverted.
    peer.send_ip(0, 1, &[8, 0, 0xf7, 0xfc, 0, 1, 0, 2]);
    peer.turn();
    let reply = peer.take_frames();
    assert_eq!(reply.len(), 1);
    assert_eq!((reply[0][12..14].to_vec(), reply[0][34]), (vec![8, 0], 0));
    peer.accept(WITH_SACK);
    assert_eq!(peer.write(MSS)[0].len(), MSS);
    peer.too_big(0, 1_000);
    peer.turn();
    assert_eq!(peer.events(), "segment_retransmitted 2, path_mtu_lowered");
    peer.ack(MSS, &[]);
    let sizes: Vec<u32> = peer.write(MSS).iter().map(Segment::len).collect();
    assert_eq!(sizes, [960, 500]);
}

#[test]
fn on_a_vlan_frames_of_others_and_of_none_are_dropped_and_counted() {
    let mut peer = on_vlan();
    for (tags, fate) in [
        (&[][..], FrameFate::Untagged),
        (&[0x81, 0, 0, 0], FrameFate::Untagged),
        (&[0x81, 0, 0xe0, 0], FrameFate::Untagged),
        (&[0x81, 0, 0x01, 0x22], FrameFate::Vlan),
        (&[0x81, 0, 0x0f, 0xff], FrameFate::Vlan),
        (&[0x88, 0xa8, 0x01, 0x23], FrameFate::DoubleTagged),
        (&[0x91, 0x00, 0x01, 0x23], FrameFate::DoubleTagged),
        (&[&OWN[..], &OWN].concat(), FrameFate::DoubleTagged),
        (
            &[&OWN[..], &[0x88, 0xa8, 0, 7]].concat(),
            FrameFate::DoubleTagged,
        ),
        (
            &[&[0x88, 0xa8, 0, 7][..], &OWN].concat(),
            FrameFate::DoubleTagged,
        ),
    ] {
        assert_eq!(syn_behind(&mut peer, tags), (fate, false), "{tags:02x?}");
    }
    assert_eq!(syn_behind(&mut peer, &OWN), (FrameFate::Syn, true));
    let urgent = [0x81, 0, 0xf1, 0x23];
    assert_eq!(
        syn_behind(&mut peer, &urgent),
        (FrameFate::Syn, true),
        "whatever its priority"
    );
}

#[test]
fn without_a_vlan_a_tag_that_gives_a_priority_alone_is_as_good_as_none() {
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    for (tags, fate) in [
        (&[0x81, 0, 0x01, 0x23][..], FrameFate::Vlan),
        (&[0x81, 0, 0x0f, 0xff], FrameFate::Vlan),
        (&[0x88, 0xa8, 0, 0], FrameFate::DoubleTagged),
        (&[0x81, 0, 0, 0, 0x81, 0, 0, 0], FrameFate::DoubleTagged),
    ] {
        assert_eq!(syn_behind(&mut peer, tags), (fate, false), "{tags:02x?}");
    }
    assert_eq!(
        syn_behind(&mut peer, &[0x81, 0, 0x20, 0]),
        (FrameFate::Syn, true)
    );
}

#[test]
fn a_tag_without_its_end_is_truncated() {
    for vlan in [None, Some(VLAN)] {
        let mut peer = Peer::on(vlan, Limits::default(), Buffers::default());
        for len in 14..18 {
            let before = peer.fates();
            let frame = [&[0xff; 12][..], &[0x81, 0, 1, 0x23, 8, 0]].concat();
            peer.put_bytes(&frame[..len]);
            peer.turn();
            let fates = peer.fates_since(&before);
            assert_eq!(fates, [(FrameFate::Truncated, 1)], "{vlan:?} {len}");
        }
    }
}

//! What has been decided stays so with every byte that follows, and eight bytes decide. TTHeader's magic behind
//! a length that nothing else begins with is TTHeader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::detect::{DECIDES, Protocol, detect};

fuzz_target!(|data: &[u8]| {
    let mut decided = None;
    for end in 0..=data.len().min(DECIDES + 4) {
        let now = detect(&data[..end]);
        if decided.is_some() {
            assert_eq!(now, decided);
        }
        assert!(now.is_some() || end < DECIDES);
        decided = now;
    }
    // From 0x83 to 0xfe no other protocol begins.
    if let [0x83..=0xfe, _, _, _, 0x10, 0, ..] = data {
        assert_eq!(decided.or_else(|| detect(data)), Some(Protocol::TtHeader));
    }
});

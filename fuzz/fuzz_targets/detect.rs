//! What has been decided stays so with every byte that follows, and eight bytes decide.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::detect::{DECIDES, detect};

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
});

//! Any bytes at the front of a connection are judged without a panic, once, and within bounds; what
//! is accepted says the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::proxy_protocol::{MAX_V2, Origin, Version, parse, write};

fuzz_target!(|input: &[u8]| {
    let verdict = parse(input);
    if let Ok(Some((origin, consumed))) = verdict {
        assert!(consumed <= input.len() && consumed <= MAX_V2);
        assert_eq!(parse(&input[..consumed]), verdict);
        if let Origin::Proxied { source, destination } = origin {
            for version in [Version::V1, Version::V2] {
                let mut out = Vec::new();
                write(&mut out, version, source, destination);
                assert_eq!(parse(&out), Ok(Some((origin, out.len()))));
            }
        }
    }
    if verdict == Ok(None) {
        assert!(input.len() < MAX_V2);
    }
});

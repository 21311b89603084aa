use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::thrift::MessageKind;

#[test]
fn message_kinds_in_both_spellings() {
    use MessageKind::*;
    for (number, kind) in [(1u8, Call), (2, Reply), (3, Exception), (4, Oneway)] {
        assert_eq!(message_kind(&[number]), Some(kind));
        assert_eq!(message_kind(&[b'0' + number]), Some(kind));
    }
    for value in [&b""[..], b"0", b"5", b"\0", b"\x05", b"02", b"2 ", b"\xb2"] {
        assert_eq!(message_kind(value), None, "{value:?}");
    }
}

#[test]
fn timeouts_are_milliseconds_in_digits() {
    let read = |value: &[u8]| Timeout::from_value(value).map(Timeout::duration);
    assert_eq!(read(b"3000"), Some(Duration::from_secs(3)));
    assert_eq!(read(b"0001"), Some(Duration::from_millis(1)));
    assert_eq!(
        read(b"4294967296"),
        Some(Duration::from_millis(u64::from(u32::MAX)))
    );
    for value in [
        &b""[..],
        b"0",
        b"000",
        b"-1",
        b"+1",
        b"1.5",
        b"1s",
        b" 1",
        b"111111111111111111111",
    ] {
        assert_eq!(read(value), None, "{value:?}");
    }
}

#[test]
fn a_timeout_shrinks_until_it_has_passed() {
    let timeout = Timeout::from_value(b"100").expect("a number");
    let left = |spent| match timeout.after(spent) {
        Remaining::Left(left) => {
            let mut digits = [0; Timeout::MAX_DIGITS];
            Some(String::from_utf8_lossy(left.write(&mut digits)).into_owned())
        }
        Remaining::Passed => None,
    };
    assert_eq!(left(Duration::ZERO), Some("100".into()));
    assert_eq!(left(Duration::from_micros(1)), Some("99".into()));
    assert_eq!(left(Duration::from_millis(99)), Some("1".into()));
    assert_eq!(left(Duration::from_micros(99_001)), None);
    assert_eq!(left(Duration::from_millis(100)), None);
    assert_eq!(left(Duration::MAX), None);
}

proptest! {
    #[test]
    fn a_timeout_reads_as_it_was_written(milliseconds in 1..=u32::MAX) {
        let duration = Duration::from_millis(u64::from(milliseconds));
        let timeout = Timeout::new(duration).expect("a millisecond at least");
        let mut digits = [0; Timeout::MAX_DIGITS];
        let value = timeout.write(&mut digits);
        let digits_of_std = milliseconds.to_string();
        prop_assert_eq!(value, digits_of_std.as_bytes());
        prop_assert_eq!(Timeout::from_value(value), Some(timeout));
    }
}

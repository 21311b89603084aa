use super::*;

/// The head with these edits, as a whole frame around [`CALL`].
fn edited(bytes: &[u8], metadata: &[Edit<'_>]) -> Vec<u8> {
    let edits = Edits {
        metadata,
        ..Edits::default()
    };
    let mut out = b"before".to_vec();
    head(bytes)
        .write(&mut out, &edits, CALL.len())
        .expect("it fits");
    out.drain(..6);
    out.extend_from_slice(CALL);
    out
}

/// Only these bytes differ.
fn assert_only(old: &[u8], new: &[u8], places: std::ops::Range<usize>) {
    assert_eq!(old.len(), new.len());
    assert_eq!(old[..places.start], new[..places.start]);
    assert_eq!(old[places.end..], new[places.end..]);
    assert_ne!(old[places.clone()], new[places]);
}

#[test]
fn nothing_changed_is_byte_for_byte() {
    // Padding in the middle and four bytes too much of it.
    let mut bytes = frame(&FULL, b"");
    bytes.extend_from_slice(&[0; 4]);
    bytes[13] += 1;
    bytes[3] += 4;
    bytes[3] += CALL.len() as u8;
    bytes.extend_from_slice(CALL);
    assert_eq!(edited(&bytes, &[]), bytes);
    let none = [
        Edit::RemoveInteger(10),
        Edit::RemoveString(b"y"),
        Edit::RemovePrefix(b"RPC_BACKWARD_"),
        Edit::SetInteger(12, b"3000"),
        Edit::SetString(b"x", b""),
    ];
    assert_eq!(edited(&bytes, &none), bytes);
}

#[test]
fn values_of_equal_length_are_changed_in_place() {
    let bytes = frame(&FULL, CALL);
    let place = |value: &[u8]| {
        let at = bytes
            .windows(value.len())
            .position(|window| window == value)
            .expect("there");
        at..at + value.len()
    };
    assert_only(
        &bytes,
        &edited(&bytes, &[Edit::SetInteger(12, b"2999")]),
        place(b"3000"),
    );
    assert_only(
        &bytes,
        &edited(&bytes, &[Edit::SetInteger(700, b"OWN")]),
        place(b"own"),
    );
    assert_only(
        &bytes,
        &edited(&bytes, &[Edit::SetString(b"isn", b"ECHO")]),
        place(b"Echo"),
    );
    let token = [Edit::SetString(string::ACL_TOKEN, b"TOKEN")];
    assert_only(&bytes, &edited(&bytes, &token), place(b"token"));
    // The later of two counts here as well.
    let twice = [Edit::SetInteger(12, b"1111"), Edit::SetInteger(12, b"2222")];
    let twice = edited(&bytes, &twice);
    assert_eq!(head(&twice).integer(12), Some(&b"2222"[..]));
}

#[test]
fn sequence_and_flags() {
    let bytes = frame(&FULL, CALL);
    let edits = Edits {
        sequence: Some(0x0102_0304),
        flags: Some(Flags::STREAMING),
        metadata: &[],
    };
    let mut out = Vec::new();
    head(&bytes)
        .write(&mut out, &edits, CALL.len())
        .expect("it fits");
    assert_eq!(out[6..12], [0, 2, 1, 2, 3, 4]);
    assert_eq!(
        (&out[..6], &out[12..]),
        (&bytes[..6], &bytes[12..out.len()])
    );
    // Together with metadata that makes the head longer.
    let metadata = &[Edit::SetInteger(10, b"boe")];
    out.clear();
    head(&bytes)
        .write(&mut out, &Edits { metadata, ..edits }, 0)
        .expect("it fits");
    assert_eq!(out[6..12], [0, 2, 1, 2, 3, 4]);
}

#[test]
fn an_edited_head_is_encoded_anew() {
    let bytes = frame(&FULL, CALL);
    let edits = [
        Edit::SetInteger(12, b"950"),
        Edit::SetInteger(10, b"lane"),
        Edit::RemoveInteger(3),
        Edit::SetString(b"RPC_PERSIST_lane", b"blue"),
        Edit::RemoveString(b"x"),
        Edit::RemovePrefix(b"RPC_TRANSIT_"),
    ];
    let expected = NewHead {
        acl_token: None,
        strings: &[
            (b"isn", b"Echo"),
            (b"RPC_PERSIST_a", b"1"),
            (b"RPC_PERSIST_lane", b"blue"),
        ],
        integers: &[
            (6, b"to"),
            (9, b"echo"),
            (700, b"own"),
            (12, b"950"),
            (10, b"lane"),
        ],
        ..FULL
    };
    assert_eq!(edited(&bytes, &edits), frame(&expected, CALL));
}

#[test]
fn empty_maps_are_left_away() {
    let bytes = frame(&FULL, CALL);
    let mut edits: Vec<Edit<'_>> = [3, 6, 9, 12, 700].map(Edit::RemoveInteger).into();
    edits.push(Edit::RemovePrefix(b""));
    let expected = NewHead {
        acl_token: None,
        strings: &[],
        integers: &[],
        ..FULL
    };
    assert_eq!(edited(&bytes, &edits), frame(&expected, CALL));
}

#[test]
fn transforms_go_on() {
    let mut bytes = frame(&NewHead::default(), CALL);
    bytes[15] = 2;
    bytes[16..18].copy_from_slice(b"\x07\x08");
    let out = edited(&bytes, &[Edit::SetInteger(6, b"to")]);
    let out = head(&out);
    assert_eq!(
        (out.transforms(), out.integer(6)),
        (&b"\x07\x08"[..], Some(&b"to"[..]))
    );
}

#[test]
fn the_later_edit_counts() {
    let bytes = frame(&FULL, CALL);
    let check = |edits: &[Edit<'_>], persist: Option<&[u8]>, env: Option<&[u8]>| {
        let out = edited(&bytes, edits);
        let out = head(&out);
        assert_eq!(out.string(b"RPC_PERSIST_a"), persist);
        assert_eq!(out.integer(10), env);
        let keys = out
            .infos()
            .filter(|info| matches!(info, Info::String(b"RPC_PERSIST_a", _)));
        assert_eq!(keys.count(), usize::from(persist.is_some()));
    };
    let set = Edit::SetString(b"RPC_PERSIST_a", b"new");
    let env = Edit::SetInteger(10, b"env");
    check(&[set, Edit::RemoveString(b"RPC_PERSIST_a")], None, None);
    check(
        &[Edit::RemovePrefix(b"RPC_PERSIST_"), set],
        Some(b"new"),
        None,
    );
    check(
        &[set, Edit::SetString(b"RPC_PERSIST_a", b"newer")],
        Some(b"newer"),
        None,
    );
    check(&[env, Edit::RemoveInteger(10)], Some(b"1"), None);
    check(&[Edit::RemoveInteger(10), env], Some(b"1"), Some(b"env"));
}

#[test]
fn a_token_that_is_set_gets_its_block() {
    let plain = NewHead {
        acl_token: None,
        ..FULL
    };
    let token = [Edit::SetString(string::ACL_TOKEN, b"longer token")];
    let expected = NewHead {
        acl_token: Some(b"longer token"),
        ..FULL
    };
    assert_eq!(edited(&frame(&plain, CALL), &token), frame(&expected, CALL));
    assert_eq!(edited(&frame(&FULL, CALL), &token), frame(&expected, CALL));
    let removed = [Edit::RemoveString(string::ACL_TOKEN)];
    assert_eq!(edited(&frame(&FULL, CALL), &removed), frame(&plain, CALL));
    // Where it came as a string it becomes a block when the head is encoded anew.
    let as_string = NewHead {
        acl_token: None,
        strings: &[(string::ACL_TOKEN, b"t")],
        ..FULL
    };
    let as_block = NewHead {
        acl_token: Some(b"t"),
        strings: &[],
        ..FULL
    };
    let out = edited(&frame(&as_string, CALL), &[Edit::SetInteger(700, b"own")]);
    assert_eq!(out, frame(&as_string, CALL));
    let out = edited(&frame(&as_string, CALL), &[Edit::RemoveInteger(700)]);
    let integers = &FULL.integers[..4];
    assert_eq!(
        out,
        frame(
            &NewHead {
                integers,
                ..as_block
            },
            CALL
        )
    );
}

#[test]
fn a_repeated_key_stays_in_its_order_until_it_is_edited() {
    let strings: &[(&[u8], &[u8])] = &[(b"k", b"old"), (b"k", b"new")];
    let integers: &[(u16, &[u8])] = &[(6, b"old"), (6, b"new")];
    let new = NewHead {
        strings,
        integers,
        ..NewHead::default()
    };
    let bytes = frame(&new, CALL);
    let out = edited(&bytes, &[Edit::SetInteger(9, b"echo")]);
    assert_eq!(
        (head(&out).string(b"k"), head(&out).integer(6)),
        (Some(&b"new"[..]), Some(&b"new"[..]))
    );
    let out = edited(
        &bytes,
        &[Edit::SetInteger(6, b"newest"), Edit::RemoveString(b"k")],
    );
    assert_eq!(
        head(&out).infos().collect::<Vec<_>>(),
        [Info::Integer(6, b"newest")]
    );
    // In place it is the value that counts that changes.
    let out = edited(&bytes, &[Edit::SetInteger(6, b"NEW")]);
    assert_eq!(head(&out).integer(6), Some(&b"NEW"[..]));
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let bytes = frame(&FULL, CALL);
    let long = vec![b'a'; 70_000];
    let refused = |metadata: &[Edit<'_>], payload_len| {
        let mut out = b"before".to_vec();
        let edits = Edits {
            metadata,
            ..Edits::default()
        };
        let error = head(&bytes)
            .write(&mut out, &edits, payload_len)
            .expect_err("it can't fit");
        assert_eq!(out, b"before");
        error
    };
    let string = Edit::SetString(b"k", &long);
    assert_eq!(refused(&[string], 0), EncodeError::StringTooLong);
    let large = Edit::SetString(b"k", &long[..65_500]);
    assert_eq!(refused(&[large], 0), EncodeError::HeaderTooLarge);
    let two = [
        Edit::SetString(b"k", &long[..40_000]),
        Edit::SetInteger(1, &long[..40_000]),
    ];
    assert_eq!(refused(&two, 0), EncodeError::HeaderTooLarge);
    assert_eq!(refused(&[], i32::MAX as usize), EncodeError::FrameTooLarge);
    assert_eq!(
        refused(&[Edit::RemoveInteger(3)], usize::MAX),
        EncodeError::FrameTooLarge
    );
}

#[test]
fn a_head_of_the_largest_size_is_written() {
    // id and transforms, kind and count, key and length.
    let value = vec![b'a'; MAX_WRITTEN - 2 - 3 - 4];
    let write = |value: &[u8]| {
        let integers: &[(u16, &[u8])] = &[(6, value)];
        let new = NewHead {
            integers,
            ..NewHead::default()
        };
        let mut out = Vec::new();
        new.write(&mut out, 0).map(|()| out)
    };
    let bytes = write(&value).expect("it fits");
    assert_eq!(bytes.len(), FIXED + MAX_WRITTEN);
    assert_eq!(head(&bytes).integer(6), Some(&value[..]));
    assert_eq!(
        write(&[&value[..], b"a"].concat()),
        Err(EncodeError::HeaderTooLarge)
    );
}

/// Lifted, a plain message is the payload of a frame; lowered, it is what it was.
#[test]
fn a_plain_message_is_lifted_and_lowered() {
    let lifted = frame(
        &NewHead {
            sequence: 7,
            integers: &[
                (integer::TO_SERVICE, b"echo"),
                (integer::TO_METHOD, b"echo"),
            ],
            ..NewHead::default()
        },
        CALL,
    );
    let head = head(&lifted);
    assert_eq!(message_of(&lifted, &head).method, b"echo");
    assert_eq!(&lifted[head.bytes().len()..], CALL);
}

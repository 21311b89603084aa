//! docs/ttheader.md tells of every reason to refuse something, in the words of the error, and of every limit.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;

use sluice_wire::thrift::{self, MAX_DEPTH, MAX_TEXT, MessageError, SkipError};
use sluice_wire::ttheader::{self, HeadError, MAX_WRITTEN, PayloadError};

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ttheader.md");
    fs::read_to_string(path).expect("the document can be read")
}

#[test]
fn every_error_is_told_of_in_its_own_words() {
    use HeadError::*;
    let heads = [
        NegativeLength,
        FrameTooLarge,
        Magic,
        HeaderEmpty,
        HeaderTooLarge,
        HeaderPastFrame,
        Transforms,
        UnknownInfo,
        InfoPastHeader,
        RepeatedAclToken,
    ];
    let messages = [
        MessageError::UnknownProtocol,
        MessageError::Version,
        MessageError::Kind,
        MessageError::NegativeMethod,
        MessageError::MethodTooLong,
        MessageError::FrameTooLarge,
        MessageError::FrameTooShort,
        MessageError::Varint,
    ];
    let payloads = [PayloadError::Truncated, PayloadError::FrameLength];
    let bodies = [
        SkipError::Type,
        SkipError::Negative,
        SkipError::Varint,
        SkipError::TooDeep,
        SkipError::TooLarge,
    ];
    let mut expected = BTreeSet::new();
    expected.extend(heads.map(|error| (error.name(), error.to_string())));
    expected.extend(messages.map(|error| (PayloadError::Message(error).name(), error.to_string())));
    expected.extend(payloads.map(|error| (error.name(), error.to_string())));
    expected.extend(bodies.map(|error| (error.name(), error.to_string())));

    let text = document();
    let (_, tables) = text
        .split_once("\n## Why a frame is refused")
        .expect("the section is there");
    let rows = tables
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let told: BTreeSet<(&str, String)> = rows
        .filter_map(|row| row.split_once("` | "))
        .map(|(name, meaning)| (name, meaning.to_owned()))
        .collect();
    assert_eq!(told, expected);
}

/// A number with commas between the thousands.
fn grouped(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

#[test]
fn every_limit_is_told_of() {
    let text = document();
    let frames = ttheader::Limits::default();
    let messages = thrift::Limits::default();
    let rows = [
        format!("| head of a frame | {} bytes |", grouped(frames.head)),
        format!("| frame | {} MiB |", frames.frame >> 20),
        format!(
            "| message of plain Thrift | {} MiB |",
            messages.message >> 20
        ),
        format!("| name of a method | {} bytes |", messages.method),
        format!(
            "| text of an exception | {} bytes, cut |",
            grouped(MAX_TEXT)
        ),
        format!("at most {MAX_DEPTH} structs and collections"),
        format!("at most {} bytes. The\n", grouped(MAX_WRITTEN)),
    ];
    for row in rows {
        assert!(text.contains(&row), "{row}");
    }
}

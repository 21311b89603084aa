//! What answers of TTHeader said that were no results: exceptions, and statuses of the service's own.

use sluice_wire::thrift::Protocol;

use crate::report::{Exception, ExceptionKind};

/// Different ones that are told apart; more are counted together.
pub(crate) const MAX_EXCEPTIONS: usize = 32;

/// Bytes of a text that are kept.
const MAX_TEXT: usize = 160;

/// Fields of an exception that are looked at.
const MAX_FIELDS: usize = 4;

/// Those that have come, each with its place.
#[derive(Debug, Default)]
pub(crate) struct Exceptions(Vec<Known>);

#[derive(Debug)]
struct Known {
    kind: ExceptionKind,
    code: Option<i32>,
    /// As it came, cut.
    text: Box<[u8]>,
}

impl Exceptions {
    /// The place of an exception whose struct begins with `body`.
    #[cold]
    pub(crate) fn exception(&mut self, protocol: Protocol, body: &[u8]) -> u16 {
        let (code, text) = match protocol {
            Protocol::Binary => binary(body),
            Protocol::Compact => compact(body),
            Protocol::KitexProtobuf => (None, None),
        };
        self.place(ExceptionKind::Exception, code, text.unwrap_or_default())
    }

    /// The place of a status, as the head has it.
    #[cold]
    pub(crate) fn biz_status(&mut self, status: &[u8], message: &[u8]) -> u16 {
        let status = str::from_utf8(status).ok();
        let code = status.and_then(|status| status.parse().ok());
        self.place(ExceptionKind::BizStatus, code, message)
    }

    /// That of the same one before, or of all for which there was no more room.
    fn place(&mut self, kind: ExceptionKind, code: Option<i32>, text: &[u8]) -> u16 {
        let text = text.get(..MAX_TEXT).unwrap_or(text);
        let same = |known: &Known| (known.kind, known.code, &*known.text) == (kind, code, text);
        let place = self.0.iter().position(same).unwrap_or(self.0.len());
        if place == self.0.len() && place < MAX_EXCEPTIONS {
            let text = text.into();
            self.0.push(Known { kind, code, text });
        }
        place as u16
    }

    /// What stands at a place, and that it came so often.
    pub(crate) fn told(&self, place: usize, count: u64) -> Exception {
        match self.0.get(place) {
            Some(known) => Exception {
                kind: known.kind,
                code: known.code,
                // For terminals too.
                text: String::from_utf8_lossy(&known.text)
                    .replace(|c: char| c.is_control(), "\u{fffd}"),
                count,
            },
            None => Exception {
                kind: ExceptionKind::Others,
                code: None,
                text: String::new(),
                count,
            },
        }
    }
}

/// Type and text (thrift `TApplicationException`: `1: string message, 2: i32 type`), as far as they are there.
fn binary(mut rest: &[u8]) -> (Option<i32>, Option<&[u8]>) {
    let (mut code, mut text) = (None, None);
    for _ in 0..MAX_FIELDS {
        match rest {
            [0x08, 0, 2, behind @ ..] => {
                let Some((value, behind)) = behind.split_first_chunk() else {
                    break;
                };
                code = Some(i32::from_be_bytes(*value));
                rest = behind;
            }
            [0x0b, 0, 1, behind @ ..] => {
                let Some((length, behind)) = behind.split_first_chunk() else {
                    break;
                };
                let length = u32::from_be_bytes(*length) as usize;
                text = Some(behind.get(..length).unwrap_or(behind));
                rest = behind.get(length..).unwrap_or_default();
            }
            _ => break,
        }
    }
    (code, text)
}

/// The same in the compact protocol; each field begins with the distance of its number to the one before.
fn compact(mut rest: &[u8]) -> (Option<i32>, Option<&[u8]>) {
    let (mut code, mut text, mut number) = (None, None, 0);
    for _ in 0..MAX_FIELDS {
        let Some((&head, behind)) = rest.split_first() else {
            break;
        };
        number += head >> 4;
        let Some((value, behind)) = varint(behind) else {
            break;
        };
        match (number, head & 0x0f) {
            (2, 5) => {
                code = Some((value >> 1) as i32 ^ -((value & 1) as i32));
                rest = behind;
            }
            (1, 8) => {
                let length = value as usize;
                text = Some(behind.get(..length).unwrap_or(behind));
                rest = behind.get(length..).unwrap_or_default();
            }
            _ => break,
        }
    }
    (code, text)
}

/// A number of at most 32 bits, and what is behind it.
fn varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use sluice_wire::thrift::{AnswerTo, ExceptionKind as Thrift};

    use super::*;

    fn body(protocol: Protocol, kind: Thrift, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let answer = AnswerTo {
            protocol,
            framed: false,
            method: b"m",
            sequence: 1,
        };
        answer.write_exception(&mut out, kind, text);
        // Of the head: versions, method and sequence.
        out.split_off(match protocol {
            Protocol::Binary => 4 + 4 + 1 + 4,
            _ => 2 + 1 + 1 + 1,
        })
    }

    #[test]
    fn an_exception_has_its_type_and_text_in_both_protocols() {
        let long = "x".repeat(300);
        for protocol in [Protocol::Binary, Protocol::Compact] {
            let mut exceptions = Exceptions::default();
            for (text, kept) in [("no route", "no route"), (&*long, &long[..160])] {
                let body = body(protocol, Thrift::UnknownService, text);
                let place = exceptions.exception(protocol, &body);
                let told = exceptions.told(place.into(), 3);
                assert_eq!((told.code, &*told.text), (Some(20), kept), "{protocol:?}");
                assert_eq!(exceptions.exception(protocol, &body), place);
            }
            // Whatever comes, it has a place.
            let whole = body(protocol, Thrift::Internal, "full");
            (0..whole.len()).for_each(|end| {
                exceptions.exception(protocol, &whole[..end]);
            });
        }
    }

    #[test]
    fn a_status_has_its_number_and_message_and_no_control_characters() {
        let mut exceptions = Exceptions::default();
        let place = exceptions.biz_status(b"-7", b"sold\x1b[2Jout");
        let told = exceptions.told(place.into(), 1);
        assert_eq!(told.kind, ExceptionKind::BizStatus);
        assert_eq!((told.code, &*told.text), (Some(-7), "sold\u{fffd}[2Jout"));
    }

    #[test]
    fn no_more_are_told_apart_than_there_is_room_for() {
        let mut exceptions = Exceptions::default();
        let mut places = (0..1_000).map(|n: u32| exceptions.biz_status(b"1", &n.to_be_bytes()));
        assert!(places.by_ref().take(32).eq(0..32));
        assert!(places.all(|place| usize::from(place) == MAX_EXCEPTIONS));
        let others = exceptions.told(MAX_EXCEPTIONS, 968);
        assert_eq!((others.kind, others.count), (ExceptionKind::Others, 968));
    }
}

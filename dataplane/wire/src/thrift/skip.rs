//! Finds the end of a message that has no frame around it, however its bytes come.
//!
//! Nothing is kept but what is open: at most [`MAX_DEPTH`] structs and collections, and the few bytes
//! of a number or a header that came in pieces. Every element of a collection has at least one
//! byte, so the limit on bytes also bounds the elements; a count that can't fit is refused at once.

use super::varint::{self, Varint};
use super::{Protocol, SkipError};

/// Most structs, lists, sets and maps within each other: what Apache Thrift's own readers allow.
pub const MAX_DEPTH: usize = 64;

/// Longest of what is read as one piece: a varint of 64 bits.
const LONGEST_TOKEN: usize = 10;

/// Where the end of a message is looked for. It is handed the bytes behind the message's head, in as
/// many pieces as they come in.
#[derive(Debug, Clone)]
pub struct Skipper {
    compact: bool,
    /// What is open, the innermost last.
    open: [Open; MAX_DEPTH],
    depth: usize,
    /// What is read next; `None` behind the end.
    next: Option<Token>,
    /// Bytes to go by before that.
    skip: u64,
    /// Bytes that may still come.
    left: u64,
    /// The beginning of a token that came in pieces.
    held: [u8; LONGEST_TOKEN],
    held_len: usize,
}

#[derive(Debug, Clone, Copy)]
enum Open {
    Struct,
    /// Elements of a list or set to come.
    List {
        element: Kind,
        left: u32,
    },
    /// Keys and values of a map to come, counted one by one: a key comes next where `left` is even.
    Map {
        key: Kind,
        value: Kind,
        left: u64,
    },
}

/// What a value is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// So many bytes.
    Fixed(u8),
    Varint,
    /// A length and so many bytes.
    Bytes,
    Struct,
    List,
    Map,
}

/// What is read as one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Field,
    Varint,
    Bytes,
    List,
    Map,
}

/// A token that was read.
enum Read {
    Stop,
    Field(Kind),
    Varint,
    Bytes(u32),
    List(Kind, u32),
    Map(Kind, Kind, u32),
}

impl Skipper {
    /// For the body of one message of at most `limit` bytes. There is none for
    /// [`Protocol::KitexProtobuf`], which always has a frame.
    #[must_use]
    pub fn new(protocol: Protocol, limit: u32) -> Option<Self> {
        (protocol != Protocol::KitexProtobuf).then_some(Self {
            compact: protocol == Protocol::Compact,
            open: [Open::Struct; MAX_DEPTH],
            depth: 1,
            next: Some(Token::Field),
            skip: 0,
            left: u64::from(limit),
            held: [0; LONGEST_TOKEN],
            held_len: 0,
        })
    }

    /// Goes on with the next bytes of the message. `Some` is how many of them belong to it: it has
    /// ended there. `None` means that all of them do, and more will.
    ///
    /// # Errors
    /// The first reason found to refuse the message, see [`SkipError`].
    pub fn advance(&mut self, input: &[u8]) -> Result<Option<usize>, SkipError> {
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            if self.skip > 0 {
                let step = self.skip.min(rest.len() as u64);
                self.skip -= step;
                at += step as usize;
                if self.skip > 0 {
                    return Ok(None);
                }
                continue;
            }
            let Some(token) = self.next else {
                return Ok(Some(at));
            };
            let Some((read, taken)) = self.read(token, rest)? else {
                return Ok(None);
            };
            at += taken;
            self.apply(read)?;
        }
    }

    /// Reads a token from what is held and `rest`; also how many bytes of `rest` it took. `None` when
    /// `rest` is at its end, which is held then.
    fn read(&mut self, token: Token, rest: &[u8]) -> Result<Option<(Read, usize)>, SkipError> {
        if self.held_len == 0
            && let Some((read, taken)) = token.read(self.compact, rest)?
        {
            self.spend(taken as u64)?;
            return Ok(Some((read, taken)));
        }
        for (index, &byte) in rest.iter().enumerate() {
            // A token is never longer than there is room to hold.
            if let Some(place) = self.held.get_mut(self.held_len) {
                *place = byte;
                self.held_len += 1;
            }
            let held = self.held.get(..self.held_len).unwrap_or_default();
            if let Some((read, taken)) = token.read(self.compact, held)? {
                self.held_len = 0;
                self.spend(taken as u64)?;
                return Ok(Some((read, index + 1)));
            }
        }
        Ok(None)
    }

    fn apply(&mut self, read: Read) -> Result<(), SkipError> {
        match read {
            Read::Stop => {
                self.depth -= 1;
                self.next_value()
            }
            Read::Field(kind) => self.begin(kind),
            Read::Varint => self.next_value(),
            Read::Bytes(len) => {
                self.pass(u64::from(len))?;
                self.next_value()
            }
            Read::List(Kind::Fixed(size), count) => {
                self.pass(u64::from(size) * u64::from(count))?;
                self.next_value()
            }
            Read::List(element, left) => {
                self.can_come(u64::from(left))?;
                self.push(Open::List { element, left })?;
                self.next_value()
            }
            Read::Map(Kind::Fixed(key), Kind::Fixed(value), count) => {
                self.pass((u64::from(key) + u64::from(value)) * u64::from(count))?;
                self.next_value()
            }
            Read::Map(key, value, count) => {
                let left = u64::from(count) * 2;
                self.can_come(left)?;
                self.push(Open::Map { key, value, left })?;
                self.next_value()
            }
        }
    }

    /// Decides what comes after a value: the next one of what is open around it.
    fn next_value(&mut self) -> Result<(), SkipError> {
        loop {
            let innermost = self.depth.checked_sub(1);
            let kind = match innermost.and_then(|index| self.open.get_mut(index)) {
                None => {
                    self.next = None;
                    return Ok(());
                }
                Some(Open::Struct) => {
                    self.next = Some(Token::Field);
                    return Ok(());
                }
                Some(Open::List { left: 0, .. } | Open::Map { left: 0, .. }) => {
                    self.depth -= 1;
                    continue;
                }
                Some(Open::List { element, left }) => {
                    *left -= 1;
                    *element
                }
                Some(Open::Map { key, value, left }) => {
                    let kind = if *left % 2 == 0 { *key } else { *value };
                    *left -= 1;
                    kind
                }
            };
            // A fixed element beside one that is not: no more than one in a row.
            match kind {
                Kind::Fixed(size) => self.pass(u64::from(size))?,
                _ => return self.begin(kind),
            }
        }
    }

    /// A value of this kind comes.
    fn begin(&mut self, kind: Kind) -> Result<(), SkipError> {
        self.next = Some(match kind {
            Kind::Fixed(size) => {
                self.pass(u64::from(size))?;
                return self.next_value();
            }
            Kind::Varint => Token::Varint,
            Kind::Bytes => Token::Bytes,
            Kind::List => Token::List,
            Kind::Map => Token::Map,
            Kind::Struct => {
                self.push(Open::Struct)?;
                Token::Field
            }
        });
        Ok(())
    }

    fn push(&mut self, open: Open) -> Result<(), SkipError> {
        let place = self.open.get_mut(self.depth).ok_or(SkipError::TooDeep)?;
        *place = open;
        self.depth += 1;
        Ok(())
    }

    /// So many bytes go by unread.
    fn pass(&mut self, bytes: u64) -> Result<(), SkipError> {
        self.spend(bytes)?;
        self.skip += bytes;
        Ok(())
    }

    fn spend(&mut self, bytes: u64) -> Result<(), SkipError> {
        self.can_come(bytes)?;
        self.left -= bytes;
        Ok(())
    }

    fn can_come(&self, bytes: u64) -> Result<(), SkipError> {
        if bytes > self.left {
            return Err(SkipError::TooLarge);
        }
        Ok(())
    }
}

impl Token {
    /// The token at the front of `bytes` and its length; `None` where more bytes are needed.
    fn read(self, compact: bool, bytes: &[u8]) -> Result<Option<(Read, usize)>, SkipError> {
        match (self, compact) {
            (Self::Field, false) => binary_field(bytes),
            (Self::Field, true) => compact_field(bytes),
            (Self::Varint, _) => Ok(number(bytes, 64)?.map(|(_, len)| (Read::Varint, len))),
            (Self::Bytes, _) => {
                let size = length(bytes, compact)?;
                Ok(size.map(|(size, len)| (Read::Bytes(size), len)))
            }
            (Self::List, false) => binary_list(bytes),
            (Self::List, true) => compact_list(bytes),
            (Self::Map, false) => binary_map(bytes),
            (Self::Map, true) => compact_map(bytes),
        }
    }
}

type Outcome = Result<Option<(Read, usize)>, SkipError>;

fn binary_field(bytes: &[u8]) -> Outcome {
    match *bytes {
        [] => Ok(None),
        [0, ..] => Ok(Some((Read::Stop, 1))),
        [kind, ..] => {
            let kind = binary_kind(kind)?;
            Ok((bytes.len() >= 3).then_some((Read::Field(kind), 3)))
        }
    }
}

/// A byte of type and the distance to the field before; where that is 0, the field's number.
fn compact_field(bytes: &[u8]) -> Outcome {
    let &[head, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    if head == 0 {
        return Ok(Some((Read::Stop, 1)));
    }
    let kind = match head & 0x0f {
        // The value of a bool is its type.
        1 | 2 => Kind::Fixed(0),
        kind => compact_kind(kind)?,
    };
    if head >> 4 != 0 {
        return Ok(Some((Read::Field(kind), 1)));
    }
    Ok(number(rest, 32)?.map(|(_, len)| (Read::Field(kind), 1 + len)))
}

fn binary_list(bytes: &[u8]) -> Outcome {
    let &[kind, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let Some((count, len)) = length(rest, false)? else {
        return Ok(None);
    };
    Ok(Some((
        Read::List(element(kind, count, binary_kind)?, count),
        1 + len,
    )))
}

/// Type and count in one byte; a count of 15 means that the count follows.
fn compact_list(bytes: &[u8]) -> Outcome {
    let &[head, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let (count, len) = match head >> 4 {
        15 => match length(rest, true)? {
            Some(count) => count,
            None => return Ok(None),
        },
        count => (u32::from(count), 0),
    };
    let kind = element(head & 0x0f, count, compact_kind)?;
    Ok(Some((Read::List(kind, count), 1 + len)))
}

fn binary_map(bytes: &[u8]) -> Outcome {
    let &[key, value, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let Some((count, len)) = length(rest, false)? else {
        return Ok(None);
    };
    let (key, value) = (
        element(key, count, binary_kind)?,
        element(value, count, binary_kind)?,
    );
    Ok(Some((Read::Map(key, value, count), 2 + len)))
}

/// The count, then both types in one byte, which an empty map does not have.
fn compact_map(bytes: &[u8]) -> Outcome {
    let Some((count, len)) = length(bytes, true)? else {
        return Ok(None);
    };
    if count == 0 {
        return Ok(Some((Read::Map(Kind::Fixed(0), Kind::Fixed(0), 0), len)));
    }
    let Some(&kinds) = bytes.get(len) else {
        return Ok(None);
    };
    let (key, value) = (compact_kind(kinds >> 4)?, compact_kind(kinds & 0x0f)?);
    Ok(Some((Read::Map(key, value, count), len + 1)))
}

/// The kind of elements; an empty collection may leave it open.
fn element(
    kind: u8,
    count: u32,
    known: fn(u8) -> Result<Kind, SkipError>,
) -> Result<Kind, SkipError> {
    if count == 0 {
        return Ok(Kind::Fixed(0));
    }
    known(kind)
}

/// A length or count, which both protocols keep below 2^31.
fn length(bytes: &[u8], compact: bool) -> Result<Option<(u32, usize)>, SkipError> {
    let read = if compact {
        number(bytes, 32)?.map(|(value, len)| (value as u32, len))
    } else {
        bytes
            .first_chunk()
            .map(|chunk| (u32::from_be_bytes(*chunk), 4))
    };
    match read {
        Some((value, _)) if value > i32::MAX as u32 => Err(SkipError::Negative),
        read => Ok(read),
    }
}

fn number(bytes: &[u8], bits: u32) -> Result<Option<(u64, usize)>, SkipError> {
    match varint::read(bytes, bits) {
        Varint::Value(value, len) => Ok(Some((value, len))),
        Varint::Incomplete => Ok(None),
        Varint::Overflow => Err(SkipError::Varint),
    }
}

/// Types of the binary protocol (thrift `doc/specs/thrift-binary-protocol.md`).
fn binary_kind(number: u8) -> Result<Kind, SkipError> {
    Ok(match number {
        2 | 3 => Kind::Fixed(1),
        4 | 10 => Kind::Fixed(8),
        6 => Kind::Fixed(2),
        8 => Kind::Fixed(4),
        11 => Kind::Bytes,
        12 => Kind::Struct,
        13 => Kind::Map,
        14 | 15 => Kind::List,
        16 => Kind::Fixed(16),
        _ => return Err(SkipError::Type),
    })
}

/// Types of the compact protocol, as elements (thrift `doc/specs/thrift-compact-protocol.md`).
fn compact_kind(number: u8) -> Result<Kind, SkipError> {
    Ok(match number {
        1..=3 => Kind::Fixed(1),
        4..=6 => Kind::Varint,
        7 => Kind::Fixed(8),
        8 => Kind::Bytes,
        9 | 10 => Kind::List,
        11 => Kind::Map,
        12 => Kind::Struct,
        13 => Kind::Fixed(16),
        _ => return Err(SkipError::Type),
    })
}

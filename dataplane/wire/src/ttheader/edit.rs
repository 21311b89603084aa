//! Sending a received head on, changed or not.

use super::error::EncodeError;
use super::head::{Flags, Head};
use super::info::Info;
use super::keys::string;
use super::new::{Writer, put_length};

/// One change to the metadata of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'e> {
    /// Gives an integer key this value, whatever it had.
    SetInteger(u16, &'e [u8]),
    /// Takes an integer key away.
    RemoveInteger(u16),
    /// Gives a string key this value, whatever it had. [`string::ACL_TOKEN`] becomes the token's block.
    SetString(&'e [u8], &'e [u8]),
    /// Takes a string key away; the ACL token as well by its name.
    RemoveString(&'e [u8]),
    /// Takes away every string key that begins so; the ACL token as well, by its name.
    RemovePrefix(&'e [u8]),
}

/// Changes to a frame's head. They apply in their order: of two that concern one key the later counts.
#[derive(Debug, Default, Clone, Copy)]
pub struct Edits<'e> {
    /// Another sequence.
    pub sequence: Option<i32>,
    /// Other flags.
    pub flags: Option<Flags>,
    /// Other metadata.
    pub metadata: &'e [Edit<'e>],
}

impl Edit<'_> {
    fn touches_integer(&self, key: u16) -> bool {
        matches!(self, Self::SetInteger(edited, _) | Self::RemoveInteger(edited) if *edited == key)
    }

    fn touches_string(&self, key: &[u8]) -> bool {
        match self {
            Self::SetString(edited, _) | Self::RemoveString(edited) => *edited == key,
            Self::RemovePrefix(prefix) => key.starts_with(prefix),
            Self::SetInteger(..) | Self::RemoveInteger(_) => false,
        }
    }

    /// Whether this edit decides the same key as an earlier one.
    fn supersedes(&self, earlier: &Self) -> bool {
        match earlier {
            Self::SetInteger(key, _) => self.touches_integer(*key),
            Self::SetString(key, _) => self.touches_string(key),
            _ => false,
        }
    }
}

/// The edits of a caller, and one more behind them.
#[derive(Clone, Copy)]
struct All<'e> {
    metadata: &'e [Edit<'e>],
    last: Option<Edit<'e>>,
}

impl<'e> All<'e> {
    fn iter(self) -> impl Iterator<Item = Edit<'e>> + Clone {
        self.metadata.iter().copied().chain(self.last)
    }

    /// Those that no later one supersedes.
    fn in_force(self) -> impl Iterator<Item = Edit<'e>> + Clone {
        self.iter().enumerate().filter_map(move |(index, edit)| {
            let mut later = self.iter().skip(index + 1);
            (!later.any(|later| later.supersedes(&edit))).then_some(edit)
        })
    }

    fn keeps_string(self, key: &[u8]) -> bool {
        !self.iter().any(|edit| edit.touches_string(key))
    }

    fn keeps_integer(self, key: u16) -> bool {
        !self.iter().any(|edit| edit.touches_integer(key))
    }
}

impl Head<'_> {
    /// Appends this head with `edits`, for a payload of `payload_len` bytes. Where all values keep their
    /// length it is the received head with those bytes changed, otherwise it is encoded anew: the ACL
    /// token, one string map, one integer map, each in the order received with what is new behind.
    ///
    /// # Errors
    /// The head can't be encoded, see [`EncodeError`]; nothing is appended then.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        edits: &Edits<'_>,
        payload_len: usize,
    ) -> Result<(), EncodeError> {
        self.write_and(out, edits, None, payload_len)
    }

    /// As [`Self::write`], with a `last` edit of the codec's own.
    pub(super) fn write_and(
        &self,
        out: &mut Vec<u8>,
        edits: &Edits<'_>,
        last: Option<Edit<'_>>,
        payload_len: usize,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let all = All {
            metadata: edits.metadata,
            last,
        };
        let written = if self.keeps_its_length(all) {
            out.extend_from_slice(self.bytes());
            self.overwrite(out.get_mut(start..).unwrap_or_default(), edits, all);
            put_length(out, start, payload_len)
        } else {
            self.encode(out, edits, all, payload_len)
        };
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// Whether nothing but bytes of values changes.
    fn keeps_its_length(&self, edits: All<'_>) -> bool {
        let same = |old: Option<&[u8]>, new: &[u8]| old.is_some_and(|old| old.len() == new.len());
        edits.iter().all(|edit| match edit {
            Edit::SetInteger(key, value) => same(self.integer(key), value),
            Edit::SetString(key, value) => same(self.string(key), value),
            Edit::RemoveInteger(key) => self.integer(key).is_none(),
            Edit::RemoveString(key) => self.string(key).is_none(),
            Edit::RemovePrefix(prefix) => !self.has_prefix(prefix),
        })
    }

    fn has_prefix(&self, prefix: &[u8]) -> bool {
        let token = self.acl_token().is_some() && string::ACL_TOKEN.starts_with(prefix);
        let begins = |info| matches!(info, Info::String(key, _) if key.starts_with(prefix));
        token || self.infos().any(begins)
    }

    /// Writes sequence, flags and values over those of `copy`, a copy of this head.
    fn overwrite(&self, copy: &mut [u8], edits: &Edits<'_>, all: All<'_>) {
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = copy.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        if let Some(Flags(flags)) = edits.flags {
            put(6, &flags.to_be_bytes());
        }
        if let Some(sequence) = edits.sequence {
            put(8, &sequence.to_be_bytes());
        }
        for edit in all.iter() {
            let (place, value) = match edit {
                Edit::SetInteger(key, value) => (self.integer_place(key), value),
                Edit::SetString(key, value) => (self.string_place(key), value),
                _ => continue,
            };
            if let Some((at, _)) = place {
                put(at, value);
            }
        }
    }

    fn encode(
        &self,
        out: &mut Vec<u8>,
        edits: &Edits<'_>,
        all: All<'_>,
        payload_len: usize,
    ) -> Result<(), EncodeError> {
        let mut writer = Writer::begin(
            out,
            edits.flags.unwrap_or(self.flags()),
            edits.sequence.unwrap_or(self.sequence()),
            self.protocol_id(),
            self.transforms(),
        );
        let kept = self
            .acl_token()
            .filter(|_| all.keeps_string(string::ACL_TOKEN));
        let set = all.in_force().find_map(|edit| match edit {
            Edit::SetString(string::ACL_TOKEN, value) => Some(value),
            _ => None,
        });
        if let Some(token) = set.or(kept) {
            writer.acl_token(token)?;
        }
        let kept = self.infos().filter_map(|info| match info {
            Info::String(key, value) if all.keeps_string(key) => Some((key, value)),
            _ => None,
        });
        let set = all.in_force().filter_map(|edit| match edit {
            Edit::SetString(key, value) => Some((key, value)),
            _ => None,
        });
        // The token has been written.
        let but_token = |(key, _): &(&[u8], &[u8])| *key != string::ACL_TOKEN;
        writer.strings(kept.chain(set).filter(but_token))?;
        let kept = self.infos().filter_map(|info| match info {
            Info::Integer(key, value) if all.keeps_integer(key) => Some((key, value)),
            _ => None,
        });
        let set = all.in_force().filter_map(|edit| match edit {
            Edit::SetInteger(key, value) => Some((key, value)),
            _ => None,
        });
        writer.integers(kept.chain(set))?;
        writer.end(payload_len)
    }
}

//! Sending a frame on under another sequence, its message's included.

use super::checksum;
use super::edit::{Edit, Edits};
use super::error::{EncodeError, RewriteError};
use super::head::Head;
use super::keys::string;
use crate::thrift::MessageHead;

impl Head<'_> {
    /// Appends this head with `edits`, then the head of its `message` with another sequence. Behind that
    /// belongs the payload from `message.bytes().len()` on, untouched: also where a compact
    /// sequence takes more or fewer bytes than before, for LENGTH, the length of the Thrift frame and
    /// `crc32c` go with it.
    ///
    /// # Errors
    /// It can't be done, see [`RewriteError`]; nothing is appended then.
    pub fn write_with_sequence(
        &self,
        out: &mut Vec<u8>,
        edits: &Edits<'_>,
        message: &MessageHead<'_>,
        sequence: i32,
    ) -> Result<(), RewriteError> {
        if message.sequence == sequence {
            self.write(out, edits, self.payload_len())?;
            out.extend_from_slice(message.bytes());
            return Ok(());
        }
        if self.has_validator() {
            return Err(RewriteError::Validator);
        }
        let start = out.len();
        let written = match self.string(string::CRC32C) {
            // Peers take an empty one for none.
            None | Some([]) => self.rewrite(out, edits, message, sequence),
            Some(value) => self.rewrite_checked(out, edits, message, sequence, value),
        };
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn rewrite(
        &self,
        out: &mut Vec<u8>,
        edits: &Edits<'_>,
        message: &MessageHead<'_>,
        sequence: i32,
    ) -> Result<(), RewriteError> {
        let growth = message.growth_with_sequence(sequence);
        self.write(out, edits, self.payload_len().saturating_add_signed(growth))?;
        write_message(out, message, sequence)
    }

    /// As [`Self::rewrite`], where the payload has this checksum.
    fn rewrite_checked(
        &self,
        out: &mut Vec<u8>,
        edits: &Edits<'_>,
        message: &MessageHead<'_>,
        sequence: i32,
        checksum: &[u8],
    ) -> Result<(), RewriteError> {
        let received = checksum::parse(checksum).ok_or(RewriteError::Checksum)?;
        // The checksum in the frame's head needs the head of the message, which comes behind it: it is
        // written in front first.
        let start = out.len();
        write_message(out, message, sequence)?;
        let old = message.bytes();
        let new = out.get(start..).unwrap_or_default();
        let new_len = new.len();
        let behind = self.payload_len().saturating_sub(old.len());
        let digits = checksum::digits(checksum::adjust(received, old, new, behind));
        let checksum = Edit::SetString(string::CRC32C, &digits);
        self.write_and(out, edits, Some(checksum), new_len + behind)?;
        out.extend_from_within(start..start + new_len);
        out.drain(start..start + new_len);
        Ok(())
    }
}

fn write_message(
    out: &mut Vec<u8>,
    message: &MessageHead<'_>,
    sequence: i32,
) -> Result<(), RewriteError> {
    let written = message.write_with_sequence(out, sequence);
    Ok(written.map_err(|_| EncodeError::FrameTooLarge)?)
}

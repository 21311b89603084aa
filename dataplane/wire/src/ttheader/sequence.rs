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
        let changed = message.with_sequence(sequence);
        let changed = changed.map_err(|_| EncodeError::FrameTooLarge)?;
        let payload_len = self.payload_len().saturating_add_signed(changed.growth());
        match self.string(string::CRC32C) {
            // Peers take an empty one for none.
            None | Some([]) => self.write(out, edits, payload_len)?,
            Some(value) => {
                let received = checksum::parse(value).ok_or(RewriteError::Checksum)?;
                let behind = self.payload_len().saturating_sub(changed.end());
                let adjusted = checksum::adjust(received, changed.old, &changed.new, behind);
                let digits = checksum::digits(adjusted);
                let checksum = Edit::SetString(string::CRC32C, &digits);
                self.write_and(out, edits, Some(checksum), payload_len)?;
            }
        }
        message.write_changed(out, &changed);
        Ok(())
    }
}

//! The date that goes into heads. A worker reads no clock: whoever runs it says what time it is.

use sluice_wire::http1::{DATE_LEN, FieldValue, imf_fixdate};

/// The value of `Date`; nothing before the time is known.
#[derive(Debug, Default)]
pub(crate) struct Date {
    seconds: u64,
    text: Option<[u8; DATE_LEN]>,
}

impl Date {
    /// It is so many seconds after 1970-01-01 UTC.
    pub(crate) fn set(&mut self, seconds: u64) {
        if self.text.is_none() || self.seconds != seconds {
            self.seconds = seconds;
            self.text = Some(imf_fixdate(seconds));
        }
    }

    /// Seconds after 1970-01-01 UTC, once they are known.
    #[inline]
    pub(crate) fn seconds(&self) -> Option<u64> {
        self.text.is_some().then_some(self.seconds)
    }

    #[inline]
    pub(crate) fn value(&self) -> Option<FieldValue<'_>> {
        FieldValue::new(self.text.as_ref()?).ok()
    }
}

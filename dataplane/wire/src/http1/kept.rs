//! Header names and values that are checked once and sent many times.

use arrayvec::ArrayVec;

use super::Version;
use super::edits::{FieldName, FieldValue};
use super::error::EditError;

/// A checked header name, see [`FieldName`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptName(Box<[u8]>);

impl KeptName {
    /// Checks a name.
    ///
    /// # Errors
    /// See [`FieldName::new`].
    pub fn new(name: &[u8]) -> Result<Self, EditError> {
        let FieldName(name) = FieldName::new(name)?;
        Ok(Self(name.into()))
    }

    /// To be sent.
    #[inline]
    #[must_use]
    pub fn name(&self) -> FieldName<'_> {
        FieldName(&self.0)
    }

    /// Its bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A checked header value of at most `N` bytes; the default is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptValue<const N: usize>(ArrayVec<u8, N>);

impl<const N: usize> KeptValue<N> {
    /// Checks a value; `None` where it is too long or has a control byte other than HTAB.
    #[must_use]
    pub fn new(value: &[u8]) -> Option<Self> {
        let FieldValue(value) = FieldValue::new(value).ok()?;
        ArrayVec::try_from(value).ok().map(Self)
    }

    /// The same of bytes that no value could not have.
    pub(super) fn of_legal(value: [u8; N]) -> Self {
        Self(value.into())
    }

    /// To be sent.
    #[inline]
    #[must_use]
    pub fn value(&self) -> FieldValue<'_> {
        FieldValue(&self.0)
    }

    /// Its bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes of the longest name in a [`Via`].
pub const MAX_VIA_NAME: usize = 64;

/// What a gateway of one name says in `Via` (RFC 9110 section 7.6.3); the default says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Via {
    http10: KeptValue<{ MAX_VIA_NAME + 4 }>,
    http11: KeptValue<{ MAX_VIA_NAME + 4 }>,
}

impl Via {
    /// Of a gateway with this name; `None` where it is too long or could not stand in a header.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        Some(Self {
            http10: KeptValue::new(format!("1.0 {name}").as_bytes())?,
            http11: KeptValue::new(format!("1.1 {name}").as_bytes())?,
        })
    }

    /// For a message that came in this version.
    #[inline]
    #[must_use]
    pub fn of(&self, version: Version) -> FieldValue<'_> {
        match version {
            Version::Http10 => self.http10.value(),
            Version::Http11 => self.http11.value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_if_it_may_be_sent() {
        assert_eq!(KeptName::new(b"X-a").unwrap().name(), FieldName(b"X-a"));
        assert_eq!(KeptName::new(b"a b"), Err(EditError::InvalidName));
        assert_eq!(KeptName::new(b"Host"), Err(EditError::Reserved));
    }

    #[test]
    fn a_value_is_kept_if_it_is_legal_and_fits() {
        assert_eq!(KeptValue::<3>::new(b" a\tb ").unwrap().as_bytes(), b"a\tb");
        assert_eq!(KeptValue::<3>::new(b"abcd"), None);
        assert_eq!(KeptValue::<3>::new(b"a\nb"), None);
        let via = Via::new("edge").unwrap();
        assert_eq!(via.of(Version::Http10), FieldValue(b"1.0 edge"));
        assert_eq!(via.of(Version::Http11), FieldValue(b"1.1 edge"));
        assert_eq!(Via::new(&"x".repeat(MAX_VIA_NAME + 1)), None);
    }
}

//! What may be changed of a head on its way through: checked names and values, and the changes made of
//! them.

use super::chars;
use super::error::EditError;
use super::fixed::FixedEdits;
use super::kind::{HeaderKind, KindSet};
use super::path;
use super::target::Authority;

/// Kinds that no caller can set, add or remove.
pub(super) const RESERVED: KindSet =
    KindSet::HOP_BY_HOP.union(KindSet::of(&[HeaderKind::Host, HeaderKind::ContentLength]));

/// A checked header name that is not reserved to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldName<'a>(pub(super) &'a [u8]);

impl FieldName<'static> {
    /// `Via`
    pub const VIA: Self = Self(b"Via");
    /// `Date`
    pub const DATE: Self = Self(b"Date");
    /// `X-Forwarded-Proto`
    pub const X_FORWARDED_PROTO: Self = Self(b"X-Forwarded-Proto");
    /// `X-Forwarded-Host`
    pub const X_FORWARDED_HOST: Self = Self(b"X-Forwarded-Host");
    /// `X-Request-Id`
    pub const X_REQUEST_ID: Self = Self(b"X-Request-Id");
    /// `traceparent`
    pub const TRACEPARENT: Self = Self(b"traceparent");
    /// `X-Sluice-Explain`
    pub const X_SLUICE_EXPLAIN: Self = Self(b"X-Sluice-Explain");
    /// `Max-Forwards`
    pub const MAX_FORWARDS: Self = Self(b"Max-Forwards");
}

impl<'a> FieldName<'a> {
    /// Checks a name.
    ///
    /// # Errors
    /// [`EditError::InvalidName`], or [`EditError::Reserved`] for Host, Content-Length and the
    /// fields of one connection.
    pub fn new(name: &'a [u8]) -> Result<Self, EditError> {
        if !chars::is_token(name) {
            return Err(EditError::InvalidName);
        }
        if RESERVED.contains(HeaderKind::of(name)) {
            return Err(EditError::Reserved);
        }
        Ok(Self(name))
    }
}

/// A checked header value: no control byte but HTAB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldValue<'a>(pub(super) &'a [u8]);

impl FieldValue<'static> {
    /// `http`
    pub const HTTP: Self = Self(b"http");
}

impl<'a> FieldValue<'a> {
    /// Checks a value; spaces and tabs around it are left out.
    ///
    /// # Errors
    /// [`EditError::InvalidValue`]
    pub fn new(value: &'a [u8]) -> Result<Self, EditError> {
        if chars::has_control(value) {
            return Err(EditError::InvalidValue);
        }
        Ok(Self(chars::trim(value)))
    }
}

/// A checked path with a query or without one, to be sent in place of a client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewTarget<'a>(pub(super) &'a [u8]);

impl<'a> NewTarget<'a> {
    /// Checks it: `None` unless it begins with `/` and has only bytes that a target may have, at most
    /// [`MAX_HEAD`](super::MAX_HEAD) of them.
    #[must_use]
    pub fn new(target: &'a [u8]) -> Option<Self> {
        let path = chars::skip(target, 0, chars::PATH);
        let legal = match target.get(path) {
            None => true,
            Some(b'?') => chars::skip(target, path + 1, chars::QUERY) == target.len(),
            Some(_) => false,
        };
        (legal && target.first() == Some(&b'/') && target.len() <= super::MAX_HEAD)
            .then_some(Self(target))
    }

    /// Whether its path has a segment `.` or `..`, in any of the ways for which a request is refused.
    #[must_use]
    pub fn has_dot_segment(&self) -> bool {
        let end = memchr::memchr(b'?', self.0).unwrap_or(self.0.len());
        path::has_dot_segment(self.0.get(..end).unwrap_or_default())
    }

    /// As given.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// One header edit of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderEdit {
    pub(super) name: Box<[u8]>,
    /// `None` adds nothing.
    pub(super) value: Option<Box<[u8]>>,
    /// Fields of this name that stand there already go.
    pub(super) replaces: bool,
}

impl HeaderEdit {
    /// One field of this name in place of all others.
    ///
    /// # Errors
    /// See [`FieldName::new`] and [`FieldValue::new`].
    pub fn set(name: &[u8], value: &[u8]) -> Result<Self, EditError> {
        Self::new(name, Some(value), true)
    }

    /// One field of this name beside all others.
    ///
    /// # Errors
    /// See [`FieldName::new`] and [`FieldValue::new`].
    pub fn add(name: &[u8], value: &[u8]) -> Result<Self, EditError> {
        Self::new(name, Some(value), false)
    }

    /// No field of this name.
    ///
    /// # Errors
    /// See [`FieldName::new`].
    pub fn remove(name: &[u8]) -> Result<Self, EditError> {
        Self::new(name, None, true)
    }

    fn new(name: &[u8], value: Option<&[u8]>, replaces: bool) -> Result<Self, EditError> {
        let FieldName(name) = FieldName::new(name)?;
        let value = match value {
            Some(value) => Some(FieldValue::new(value)?.0.into()),
            None => None,
        };
        Ok(Self {
            name: name.into(),
            value,
            replaces,
        })
    }
}

/// Changes to the fields of a head on its way through; the default changes nothing and costs
/// nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct FieldEdits<'a> {
    /// Received fields of these kinds are not forwarded, usually because `append` states them.
    pub drop: KindSet,
    /// What the gateway itself adds.
    pub append: &'a [(FieldName<'a>, FieldValue<'a>)],
    /// What the operator wants: it also sees what `append` added.
    pub rules: &'a FixedEdits,
    /// What the operator wants with values that depend on the message, added last.
    pub computed: &'a [(FieldName<'a>, FieldValue<'a>)],
}

/// Changes to a request on its way to a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestEdits<'a> {
    /// Sent as path and query in place of the client's.
    pub target: Option<NewTarget<'a>>,
    /// Sent as Host in place of the client's. An HTTP/1.0 request may have none; the service gets
    /// an empty Host then (RFC 9112 section 3.2), unless this names one.
    pub host: Option<Authority<'a>>,
    /// Sent behind what the client's `X-Forwarded-For` fields say, all in one field; in their
    /// place where `fields.drop` has [`HeaderKind::XForwardedFor`].
    pub forwarded_for: Option<FieldValue<'a>>,
    /// One element of `Forwarded` (RFC 7239), sent likewise behind what those fields say.
    pub forwarded: Option<FieldValue<'a>>,
    /// The protocol to ask the service to change to; without it, an upgrade is not asked for.
    pub upgrade: Option<FieldValue<'a>>,
    /// All other fields.
    pub fields: FieldEdits<'a>,
}

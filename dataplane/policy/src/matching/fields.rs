//! Where the values of a request stand.

use arrayvec::ArrayVec;
use sluice_wire::http1::Headers;

/// Longest value of a query's parameter that is compared where it is percent-encoded, in bytes as sent.
const MAX_ENCODED: usize = 1024;

/// The value of the first header of this name.
pub(crate) fn first_header<'a>(headers: &Headers<'a>, name: &[u8]) -> Option<&'a [u8]> {
    headers.named(name).next()
}

/// Whether any header of this name passes.
pub(super) fn any_header(
    headers: &Headers<'_>,
    name: &[u8],
    passes: impl Fn(&[u8]) -> bool,
) -> bool {
    headers.named(name).any(passes)
}

/// The values of all cookies of this name (RFC 6265 section 4.2.1), as sent.
pub(super) fn cookies<'a>(headers: &Headers<'a>, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    headers
        .named(b"cookie")
        .flat_map(|value| value.split(|&b| b == b';'))
        .filter_map(move |pair| {
            let (own, value) = split_once(pair.trim_ascii(), b'=')?;
            (own == name).then_some(value)
        })
}

/// The value of the first cookie of this name.
pub(crate) fn cookie<'a>(headers: &Headers<'a>, name: &'a [u8]) -> Option<&'a [u8]> {
    cookies(headers, name).next()
}

/// The parameters of a query as sent; one without `=` has an empty value.
fn parameters(query: Option<&[u8]>) -> impl Iterator<Item = (&[u8], &[u8])> {
    query
        .into_iter()
        .flat_map(|query| query.split(|&b| b == b'&'))
        .filter(|pair| !pair.is_empty())
        .map(|pair| split_once(pair, b'=').unwrap_or((pair, b"")))
}

/// The value of the first parameter of this name, as sent.
pub(crate) fn query<'a>(whole: Option<&'a [u8]>, name: &[u8]) -> Option<&'a [u8]> {
    parameters(whole)
        .find(|(own, _)| same_decoded(own, name))
        .map(|(_, value)| value)
}

/// Whether any parameter of this name passes, its value decoded. One that is too long to be decoded
/// passes nothing.
pub(super) fn any_parameter(
    query: Option<&[u8]>,
    name: &[u8],
    passes: impl Fn(&[u8]) -> bool,
) -> bool {
    parameters(query).any(|(own, value)| {
        if !same_decoded(own, name) {
            return false;
        }
        if !is_encoded(value) {
            return passes(value);
        }
        let mut plain = ArrayVec::<u8, MAX_ENCODED>::new();
        value.len() <= MAX_ENCODED && {
            plain.extend(decoded(value));
            passes(&plain)
        }
    })
}

fn is_encoded(value: &[u8]) -> bool {
    memchr::memchr2(b'%', b'+', value).is_some()
}

fn same_decoded(raw: &[u8], name: &[u8]) -> bool {
    if is_encoded(raw) {
        decoded(raw).eq(name.iter().copied())
    } else {
        raw == name
    }
}

/// The bytes that a value of a query stands for: `+` is a space, and what is no encoding is itself.
fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        Some(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, behind @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = behind;
                    high << 4 | low
                }
                _ => first,
            },
            _ => first,
        })
    })
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, bytes)?;
    Some((bytes.get(..place)?, bytes.get(place + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_compared_decoded() {
        let query = Some(&b"a=1&b%63=x%20y+z&&flag&a=2&bad=%zz%4"[..]);
        let is = |name: &str, value: &str| {
            any_parameter(query, name.as_bytes(), |own| own == value.as_bytes())
        };
        assert!(is("a", "1") && is("a", "2"));
        assert!(is("bc", "x y z"));
        assert!(is("flag", ""));
        assert!(is("bad", "%zz%4"));
        assert!(!is("b%63", "x y z"));
        assert!(!is("", ""));
        assert_eq!(super::query(query, b"bc"), Some(&b"x%20y+z"[..]));
    }

    #[test]
    fn what_is_too_long_to_decode_passes_nothing() {
        let long = [b"a=%41".as_slice(), &[b'x'; MAX_ENCODED]].concat();
        assert!(!any_parameter(Some(&long), b"a", |_| true));
        let plain = [b"a=".as_slice(), &[b'x'; 5000]].concat();
        assert!(any_parameter(Some(&plain), b"a", |value| value.len() == 5000));
    }
}

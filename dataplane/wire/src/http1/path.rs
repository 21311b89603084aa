//! Paths that are written in several ways and mean the same (RFC 3986 section 6.2.2).

/// Whether a segment of `path` is `.` or `..`, plain or percent-encoded. Parameters (`..;x`) and an
/// encoded slash or backslash end a segment here: there are servers that see it so.
#[inline]
pub(super) fn has_dot_segment(path: &[u8]) -> bool {
    let suspect = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| path.get(before));
        path.get(at) == Some(&b'%') || before == Some(&b'/')
    };
    memchr::memchr2_iter(b'.', b'%', path).any(suspect) && resolves(path)
}

#[cold]
fn resolves(path: &[u8]) -> bool {
    // Dots of the segment so far, while it has nothing else.
    let mut dots = Some(0);
    let mut parameters = false;
    let is_dots = |dots| matches!(dots, Some(1 | 2));
    for (byte, _) in Decoded(path) {
        match byte {
            b'/' | b'\\' => {
                if is_dots(dots) {
                    return true;
                }
                (dots, parameters) = (Some(0), false);
            }
            _ if parameters => {}
            b';' => parameters = true,
            b'.' => dots = dots.map(|dots| dots + 1),
            _ => dots = None,
        }
    }
    is_dots(dots)
}

/// `path` with its encoded unreserved characters (RFC 3986 section 2.3) and slashes decoded, what stays
/// encoded in upper case (section 6.2.2.1).
#[inline]
#[must_use]
pub fn plain_path<'a>(path: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if memchr::memchr(b'%', path).is_none() {
        return path;
    }
    decode(path, scratch);
    scratch
}

#[cold]
fn decode(path: &[u8], out: &mut Vec<u8>) {
    out.clear();
    for (byte, raw) in Decoded(path) {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            out.push(byte);
        } else if raw.len() == 3 {
            out.extend(raw.iter().map(u8::to_ascii_uppercase));
        } else {
            out.extend_from_slice(raw);
        }
    }
}

/// Each byte of a path decoded, and as it stands there. A `%` without two hexadecimal digits behind
/// it stands for itself.
struct Decoded<'a>(&'a [u8]);

impl<'a> Iterator for Decoded<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&first, after) = self.0.split_first()?;
        if let [b'%', high, low, ..] = *self.0
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            let (raw, rest) = self.0.split_at_checked(3)?;
            self.0 = rest;
            return Some((high << 4 | low, raw));
        }
        let raw = self.0.get(..1)?;
        self.0 = after;
        Some((first, raw))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_seen_however_they_are_written() {
        for path in [
            "/.",
            "/..",
            "/./a",
            "/a/..",
            "/a/../b",
            "/%2e",
            "/a/%2E%2e/b",
            "/a/.%2e",
            "/a/..;x/b",
            "/a/..;",
            "/a%2f..%2fb",
            "/a%2F..",
            "/a/..%5cb",
            "/a%5c../b",
            "/%2e%2e%2f",
        ] {
            assert!(has_dot_segment(path.as_bytes()), "{path}");
        }
        for path in [
            "/",
            "*",
            "/a.b",
            "/.well-known/x",
            "/...",
            "/a..",
            "/..a",
            "/a;..",
            "/%2ea",
            "/a%2e",
            "/%252e%252e/",
            "/a;.;./b",
            "//",
            "/%",
            "/%2",
            "/.%zz",
            "/%2e%",
        ] {
            assert!(!has_dot_segment(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn equal_paths_become_the_same() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/%61%2Fb%7e", "/a/b~"),
            ("/%20%3F%00%2b", "/%20%3F%00%2B"),
            ("/%c3%A4", "/%C3%A4"),
            ("/100%", "/100%"),
            ("/%4", "/%4"),
            ("/%zz%41", "/%zzA"),
            ("/%2561", "/%2561"),
        ] {
            let mut scratch = Vec::new();
            let plain = plain_path(path.as_bytes(), &mut scratch);
            assert_eq!(String::from_utf8_lossy(plain), expected);
        }
    }
}

//! Trailer fields that go on (RFC 9110 section 6.5).

use super::chars::Stop;
use super::field::{FieldLine, field_line, span};
use super::fixed::FixedEdits;
use super::kind::HeaderKind;
use super::scan::Scan;

/// Fields without a kind of their own that mean something only before the body: whoever merges
/// trailers into the head would let them change how the message is framed, routed, authenticated,
/// cached or read (RFC 9110 section 6.5.1).
const HEAD_ONLY: [&[u8]; 37] = [
    b"accept-encoding",
    b"age",
    b"allow",
    b"authorization",
    b"cache-control",
    b"clear-site-data",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-range",
    b"content-security-policy",
    b"content-type",
    b"cookie",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"last-modified",
    b"location",
    b"origin",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"referer",
    b"refresh",
    b"retry-after",
    b"set-cookie",
    b"strict-transport-security",
    b"user-agent",
    b"vary",
    b"warning",
    b"www-authenticate",
    b"x-real-ip",
];

/// Appends the chunk of size 0 and those of the trailer `fields` that may go on: whole lines without
/// the final empty one, as [`super::BodyEvent::Trailers`] gives them.
///
/// Not every kind that the gateway acts on, not what only the head may say, and not what the
/// operator's `rules` set or remove in the head. At most as many bytes as `fields` has, and five.
pub fn write_trailers(out: &mut Vec<u8>, fields: &[u8], rules: &FixedEdits) {
    out.extend_from_slice(b"0\r\n");
    let mut pos = 0;
    let mut scan = Scan::new(fields, pos);
    let line = |scan: &mut Scan<'_>, pos| field_line(fields, scan, pos).map_err(drop::<Stop<_>>);
    while let Ok(FieldLine::Field(entry)) = line(&mut scan, pos) {
        let name = span(fields, entry.start, entry.colon);
        if entry.kind == HeaderKind::Other && !is_head_only(name) && !rules.replaces(name) {
            out.extend_from_slice(span(fields, entry.start, entry.end));
        }
        pos = entry.end as usize;
    }
    out.extend_from_slice(b"\r\n");
}

fn is_head_only(name: &[u8]) -> bool {
    let forwarded = name
        .get(..12)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"));
    forwarded
        || HEAD_ONLY
            .iter()
            .any(|field| name.eq_ignore_ascii_case(field))
}

#[cfg(test)]
mod tests {
    use super::super::edits::HeaderEdit;
    use super::*;

    fn written(fields: &str, rules: &[HeaderEdit]) -> String {
        let mut out = Vec::new();
        write_trailers(&mut out, fields.as_bytes(), &FixedEdits::new(rules));
        assert!(out.len() <= fields.len() + 5);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_describes_the_body_goes_on() {
        assert_eq!(written("", &[]), "0\r\n\r\n");
        let fields = "grpc-status: 0\r\nDigest:  x \r\nServer-Timing: a;dur=1\r\n";
        assert_eq!(written(fields, &[]), format!("0\r\n{fields}\r\n"));
    }

    #[test]
    fn what_only_the_head_may_say_does_not() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "Trailer",
            "TE",
            "Via",
            "X-Forwarded-For",
            "X-Forwarded-Prefix",
            "Forwarded",
            "X-Request-Id",
            "Authorization",
            "Cookie",
            "SET-COOKIE",
            "Content-Type",
            "Cache-Control",
            "X-Real-IP",
        ] {
            let fields = format!("A: 1\r\n{name}: 2\r\nB: 3\r\n");
            assert_eq!(written(&fields, &[]), "0\r\nA: 1\r\nB: 3\r\n\r\n", "{name}");
        }
    }

    #[test]
    fn what_rules_set_or_remove_does_not() {
        let rules = [
            HeaderEdit::set(b"x-user", b"anonymous").unwrap(),
            HeaderEdit::remove(b"X-Debug").unwrap(),
            HeaderEdit::add(b"x-kept", b"1").unwrap(),
        ];
        let fields = "X-User: admin\r\nx-debug: 1\r\nX-Kept: 2\r\n";
        assert_eq!(written(fields, &rules), "0\r\nX-Kept: 2\r\n\r\n");
    }
}

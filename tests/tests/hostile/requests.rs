//! The corpus: every published form of request smuggling, header splitting and malformed request that
//! we know of, and what Sluice, nginx and HAProxy make of each.

mod chunks;
mod codings;
mod framing;
mod heads;
mod lines;

/// Why nginx or HAProxy does something else with a request than Sluice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// All three let the same through, or refuse it.
    Same,
    Repaired,
    EqualLengths,
    Overflow,
    Limit,
    Tabs,
    OldChunked,
    Expectation,
    Dropped,
    Spelling,
    EmptyElement,
    Folding,
    LineEnds,
    ChunkLineEnds,
    ChunkLines,
    Trailers,
    ControlBytes,
    Options,
    Underscores,
    Websocket,
    EmptyLines,
    Spaces,
    Versions,
    TargetCharacters,
    Dots,
    Methods,
    AbsoluteForm,
    Hosts,
    OldHost,
}

impl Why {
    /// The reason in words, with what the RFCs say. The document shows it.
    #[rustfmt::skip]
    pub(crate) fn text(self) -> &'static str {
        match self {
            Why::Same => "",
            Why::Repaired => "RFC 9112, 6.1 and 6.3: a server may reject a request with both framings, or go by Transfer-Encoding alone and close after it. HAProxy does the latter.",
            Why::EqualLengths => "RFC 9112, 6.3: a recipient may reject equal lengths or take them for one. HAProxy takes them for one.",
            Why::Overflow => "RFC 9110, 8.6: a number that is too large must not overflow. HAProxy passes it on and waits for the body.",
            Why::Limit => "A limit of Sluice's, of nginx's or of HAProxy's that the others do not have or have elsewhere. RFC 9110, 2.3 and 17.5, and RFC 9112, 3 and 7.1.1, want limits and leave them to the recipient.",
            Why::Tabs => "RFC 9110, 5.6.3: tabs may stand around a value. nginx takes spaces only.",
            Why::OldChunked => "RFC 9112, 6.1: Transfer-Encoding in HTTP/1.0 is faulty framing, and the connection has to be closed. HAProxy goes by it before it closes.",
            Why::Expectation => "RFC 9110, 10.1.1: a server may answer 417 to an expectation that it does not know. nginx and HAProxy pass it on, where another server may find the 100-continue in it.",
            Why::Dropped => "RFC 9110, 5.1, and RFC 9112, 5: this is no field. nginx leaves such lines out and goes on (ignore_invalid_headers), or passes an empty field on.",
            Why::Spelling => "RFC 9112, 7: names of codings have no case. Sluice and nginx write their own `chunked`; HAProxy passes it on as it was spelled.",
            Why::EmptyElement => "RFC 9110, 5.6.1.2, has recipients ignore empty elements of a list. Sluice and nginx do not for Transfer-Encoding, since not everyone does; HAProxy passes it on as it is.",
            Why::Folding => "RFC 9112, 5.2: a server must reject a folded line or replace the fold by spaces. HAProxy does the latter.",
            Why::LineEnds => "RFC 9112, 2.2: a recipient may take LF alone for the end of a line of a head. nginx and HAProxy do; Sluice does not, since another recipient may not.",
            Why::ChunkLineEnds => "RFC 9112, 7.1: chunks and their size lines end in CRLF; the leniency of 2.2 is for heads. nginx and HAProxy take LF all the same.",
            Why::ChunkLines => "RFC 9112, 7.1.1: space stands only before an extension, and an extension has a name. nginx and HAProxy skip to the end of the line.",
            Why::Trailers => "RFC 9112, 7.1.2, and RFC 9110, 6.5: trailers are fields, may be left out, and must not be about framing. nginx leaves them out unread, up to whatever looks like an empty line; HAProxy passes on all of them, folded ones and those with LF repaired; whether it takes a space before the colon differs from one start of the same HAProxy to the next.",
            Why::ControlBytes => "RFC 9110, 5.5: a value with NUL has to be rejected or repaired, other control bytes are invalid and may be kept. HAProxy passes on all of them, nginx all but NUL.",
            Why::Options => "RFC 9110, 7.6.1: an intermediary removes what Connection names, and a sender must not name what is meant for all recipients. Sluice removes the one and refuses the other, as it refuses more than 16 names; nginx and HAProxy leave named fields in.",
            Why::Underscores => "RFC 9110, 5.1: an underscore may stand in a name. Programs that get headers as variables can't tell it from a dash (RFC 3875, 4.1.18). Sluice leaves out what looks like a field that it acts on itself, nginx every name with an underscore, HAProxy none.",
            Why::Websocket => "RFC 6455, 4.1: a WebSocket handshake has a key. HAProxy refuses one without; for Sluice and nginx, which were not told to upgrade, it is an ordinary request.",
            Why::EmptyLines => "RFC 9112, 2.2: a server should ignore at least one empty line before a request. Sluice ignores one, nginx and HAProxy more.",
            Why::Spaces => "RFC 9112, 3: one space stands between the parts of a request line, and a recipient may be lenient about it. nginx and HAProxy are, each in its own way.",
            Why::Versions => "RFC 9112, 2.3 and 3: a version is HTTP/ and two digits with a dot. RFC 9110, 6.2, would have 1.2 treated as 1.1; there is no such version, and Sluice answers 505 to all but 1.0 and 1.1. nginx speaks HTTP/0.9 and reads 1.10 as 1.1; HAProxy takes any version, and speaks HTTP/2 after its preface.",
            Why::TargetCharacters => "RFC 9112, 3.2, and RFC 3986, 3.3: a target has only characters of a URI. Sluice lets through what browsers send beyond that, among it a percent sign without digits, and refuses what servers read in two ways; nginx and HAProxy draw the line elsewhere. An encoded NUL is valid; nginx refuses it.",
            Why::Dots => "RFC 3986, 5.2.4: clients resolve dot segments before they send. Whoever resolves one behind the gateway serves another path than was routed, so Sluice refuses them, however they are written; nginx only where they lead above the root, HAProxy never.",
            Why::Methods => "RFC 9110, 9: methods are case-sensitive tokens, and only OPTIONS has the target `*` (RFC 9112, 3.2.4). nginx refuses lower case and OPTIONS of all; neither it nor Sluice does CONNECT or TRACE; HAProxy passes all of them on.",
            Why::AbsoluteForm => "RFC 9112, 3.2.2: the host of the target wins over Host, and the target goes on in origin form where it is meant for a server. A server behind may go by either, so for Sluice both have to agree; nginx, set to pass Host on, goes by the target; HAProxy refuses what disagrees and passes the target on as it is. User information is not allowed (RFC 9110, 4.2.4), nor https without TLS (7.4), which is 421.",
            Why::Hosts => "RFC 9112, 3.2: a missing, repeated or invalid Host has to be answered with 400. nginx is lenient about names and ports, HAProxy about nearly everything but two different ones.",
            Why::OldHost => "RFC 9112, 3.2 and C.1.1: HTTP/1.0 does without Host, HTTP/1.1 does not. Sluice sends on the service's name; nginx and HAProxy send on none.",
        }
    }
}

/// One piece of input, sent on a connection of its own.
///
/// What becomes of it is written as [`crate::differential::Outcome`] shows it: what the backend sees,
/// then the statuses that the client gets, and whether its connection is closed then.
#[derive(Debug)]
pub(crate) struct Case {
    /// What is odd about it.
    pub(crate) name: &'static str,
    /// The exact bytes.
    pub(crate) bytes: Vec<u8>,
    /// What becomes of it in Sluice.
    pub(crate) sluice: &'static str,
    /// The fates that Sluice counts, once the client has closed.
    pub(crate) fates: &'static str,
    /// What becomes of it in nginx and in HAProxy; `A or B` where it is not the same each time.
    pub(crate) others: [&'static str; 2],
    /// The reason, where another proxy does otherwise.
    pub(crate) why: Why,
}

/// What a group of cases is about, and the cases.
pub(crate) type Group = (&'static str, Vec<Case>);

/// The whole corpus.
pub(crate) fn corpus() -> [Group; 5] {
    [
        ("How long is the body?", framing::cases()),
        ("Is the body chunked?", codings::cases()),
        ("Where does a chunk end?", chunks::cases()),
        ("What is a header field?", heads::cases()),
        (
            "What is a request line, and what is a target?",
            lines::cases(),
        ),
    ]
}

/// `=` for another proxy: the same as in Sluice.
fn case(
    name: &'static str,
    why: Why,
    bytes: Vec<u8>,
    [sluice, fates]: [&'static str; 2],
    others: [&'static str; 2],
) -> Case {
    Case {
        name,
        bytes,
        sluice,
        fates,
        others: others.map(|other| if other == "=" { sluice } else { other }),
        why,
    }
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

fn get(fields: &str, after: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n{after}").into_bytes()
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n{body}").into_bytes()
}

use super::*;
use proptest::prelude::*;

fn proxied(source: &str, destination: &str) -> Origin {
    Origin::Proxied {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[command, family]);
    header.extend_from_slice(&(body.len() as u16).to_be_bytes());
    header.extend_from_slice(body);
    header
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 0, 80];

#[test]
fn lines_of_version_1() {
    let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
    for (line, origin) in [
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\r\n",
            proxied("192.0.2.1:4660", "198.51.100.2:80"),
        ),
        (
            "PROXY TCP6 2001:db8::1 ::1 65535 0\r\n",
            proxied("[2001:db8::1]:65535", "[::1]:0"),
        ),
        ("PROXY UNKNOWN\r\n", Origin::Peer),
        (longest, Origin::Peer),
    ] {
        let mut bytes = line.as_bytes().to_vec();
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
        assert_eq!(parse(&bytes), Ok(Some((origin, line.len()))), "{line}");
        for cut in 0..line.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "{line} cut at {cut}");
        }
    }
}

#[test]
fn lines_that_are_refused() {
    for (line, error) in [
        ("GET / HTTP/1.1\r\n", ProxyError::Missing),
        ("PROXZ", ProxyError::Missing),
        ("PROXYTCP4", ProxyError::Missing),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\n",
            ProxyError::Line,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 4660\r\n",
            ProxyError::Line,
        ),
        (
            "PROXY TCP4  192.0.2.1 198.51.100.2 4660 80\r\n",
            ProxyError::Line,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 4660 80 \r\n",
            ProxyError::Line,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 4660 080\r\n",
            ProxyError::Line,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 80\r\n",
            ProxyError::Line,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 80\r\n",
            ProxyError::Line,
        ),
        (
            "PROXY TCP4 192.0.2.256 198.51.100.2 1 80\r\n",
            ProxyError::Line,
        ),
        ("PROXY TCP4 ::1 ::1 1 80\r\n", ProxyError::Line),
        ("PROXY TCP6 192.0.2.1 192.0.2.1 1 80\r\n", ProxyError::Line),
        ("PROXY UDP4 192.0.2.1 192.0.2.1 1 80\r\n", ProxyError::Line),
        ("PROXY UNKNOWNX\r\n", ProxyError::Line),
        ("PROXY \r\n", ProxyError::Line),
    ] {
        assert_eq!(parse(line.as_bytes()), Err(error), "{line}");
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
    assert_eq!(parse(&long.as_bytes()[..MAX_V1 - 1]), Ok(None));
    assert_eq!(parse(&long.as_bytes()[..MAX_V1]), Err(ProxyError::TooLong));
}

#[test]
fn headers_of_version_2() {
    let mut with_tlv = V4.to_vec();
    with_tlv.extend_from_slice(&[0x04, 0, 1, 0xff]);
    let mut v6 = Vec::new();
    v6.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
    v6.extend_from_slice(&Ipv6Addr::UNSPECIFIED.octets());
    v6.extend_from_slice(&[0, 1, 0, 2]);
    let from_v4 = proxied("192.0.2.1:4660", "198.51.100.2:80");
    for (name, header, origin) in [
        ("IPv4", v2(0x21, 0x11, &V4), from_v4),
        ("IPv4 and a TLV", v2(0x21, 0x11, &with_tlv), from_v4),
        ("IPv6", v2(0x21, 0x21, &v6), proxied("[::1]:1", "[::]:2")),
        ("LOCAL", v2(0x20, 0x00, &[]), Origin::Peer),
        ("LOCAL with addresses", v2(0x20, 0x11, &V4), Origin::Peer),
        ("UNSPEC", v2(0x21, 0x00, &[1, 2, 3]), Origin::Peer),
        ("the longest", v2(0x20, 0x00, &[0; 520]), Origin::Peer),
    ] {
        let mut bytes = header.clone();
        bytes.push(b'G');
        assert_eq!(parse(&bytes), Ok(Some((origin, header.len()))), "{name}");
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(None), "{name} cut at {cut}");
        }
    }
}

#[test]
fn headers_of_version_2_that_are_refused() {
    for (name, header, error) in [
        (
            "version 1 in binary",
            v2(0x11, 0x11, &V4),
            ProxyError::Binary,
        ),
        ("another command", v2(0x22, 0x11, &V4), ProxyError::Binary),
        ("UDP", v2(0x21, 0x12, &V4), ProxyError::Binary),
        (
            "a UNIX socket",
            v2(0x21, 0x31, &[0; 216]),
            ProxyError::Binary,
        ),
        (
            "short addresses",
            v2(0x21, 0x11, &V4[..11]),
            ProxyError::Binary,
        ),
        (
            "short for IPv6",
            v2(0x21, 0x21, &[0; 35]),
            ProxyError::Binary,
        ),
        ("too long", v2(0x21, 0x11, &[0; 521]), ProxyError::TooLong),
        (
            "another signature",
            b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
            ProxyError::Missing,
        ),
        ("an empty line", b"\r\nGET".to_vec(), ProxyError::Missing),
    ] {
        assert_eq!(parse(&header), Err(error), "{name}");
    }
}

#[test]
fn two_families_are_unknown() {
    let (four, six) = ("192.0.2.1:1".parse().unwrap(), "[::1]:2".parse().unwrap());
    for version in [Version::V1, Version::V2] {
        let mut out = Vec::new();
        write(&mut out, version, four, six);
        assert_eq!(parse(&out), Ok(Some((Origin::Peer, out.len()))));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        source: IpAddr,
        destination: IpAddr,
        ports: (u16, u16),
        binary: bool,
    ) {
        let version = if binary { Version::V2 } else { Version::V1 };
        let source = SocketAddr::new(source, ports.0);
        let destination = SocketAddr::new(destination, ports.1);
        let mut out = Vec::new();
        write(&mut out, version, source, destination);
        let longest = if binary { MAX_V2 } else { MAX_V1 };
        prop_assert!(out.len() <= longest);
        let expected = if source.is_ipv4() == destination.is_ipv4() {
            Origin::Proxied { source, destination }
        } else {
            Origin::Peer
        };
        prop_assert_eq!(parse(&out), Ok(Some((expected, out.len()))));
    }

    /// More bytes never take a verdict back.
    #[test]
    fn any_bytes_are_judged_once(start in 0usize..3, bytes: Vec<u8>) {
        let mut input = [&b"PROXY TCP"[..], &SIGNATURE[..], b""][start].to_vec();
        input.extend_from_slice(&bytes);
        let mut verdict = None;
        for cut in 0..=input.len() {
            let now = parse(&input[..cut]);
            if let Some(before) = verdict {
                prop_assert_eq!(now, before);
            } else if now != Ok(None) {
                verdict = Some(now);
            }
            if let Ok(Some((_, consumed))) = now {
                prop_assert!(consumed <= cut);
            }
        }
    }
}

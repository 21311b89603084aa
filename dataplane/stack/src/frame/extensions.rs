//! Extension headers of IPv6 (RFC 8200 4): what a host passes over to find what is behind them.

use crate::fate::FrameFate;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
/// Headers of a packet, and bytes of all of them. Nobody needs more, and they are read for strangers.
const MOST_HEADERS: usize = 4;
const MOST_BYTES: usize = 256;

/// What is behind the extension headers of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Behind<'a> {
    pub(crate) protocol: u8,
    pub(crate) body: &'a [u8],
    /// Routers were asked to look at it for the sake of MLD (RFC 2711 2.1).
    pub(crate) router_alert: bool,
}

/// Passes the headers of a packet that a host may pass: options that may be skipped, for routers or for the
/// destination, and routes that have come to their end. `first` says what `packet` begins with.
#[cold]
pub(crate) fn pass(first: u8, packet: &[u8]) -> Result<Behind<'_>, FrameFate> {
    let mut behind = Behind {
        protocol: first,
        body: packet,
        router_alert: false,
    };
    let mut headers = 0;
    while let HOP_BY_HOP | ROUTING | DESTINATION = behind.protocol {
        let (&[next, length, kind, segments_left], _) =
            behind.body.split_first_chunk().ok_or(FrameFate::BadIp)?;
        let length = (usize::from(length) + 1) * 8;
        let passed = packet.len() - behind.body.len();
        if headers == MOST_HEADERS || passed + length > MOST_BYTES {
            return Err(FrameFate::ExtensionHeader);
        }
        let (header, body) = behind
            .body
            .split_at_checked(length)
            .ok_or(FrameFate::BadIp)?;
        match behind.protocol {
            // Of type 0 are source routes, which nobody follows any more (RFC 5095).
            ROUTING if kind == 0 || segments_left != 0 => return Err(FrameFate::ExtensionHeader),
            ROUTING => {}
            // Nowhere but in front (RFC 8200 4.1).
            HOP_BY_HOP if headers > 0 => return Err(FrameFate::BadIp),
            _ => behind.router_alert |= skip_options(&header[2..])?,
        }
        (behind.protocol, behind.body) = (next, body);
        headers += 1;
    }
    Ok(behind)
}

/// Skips options, all of which must allow it (RFC 8200 4.2); whether one of them alerts routers to MLD.
fn skip_options(mut options: &[u8]) -> Result<bool, FrameFate> {
    const PAD1: u8 = 0;
    const ROUTER_ALERT: u8 = 5;
    /// Of a kind: whoever doesn't know the option has to drop the packet, if any of these is set.
    const NOT_TO_BE_SKIPPED: u8 = 0xc0;
    let mut router_alert = false;
    loop {
        options = match *options {
            [] => return Ok(router_alert),
            [PAD1, ref rest @ ..] => rest,
            [kind, ..] if kind & NOT_TO_BE_SKIPPED != 0 => return Err(FrameFate::ExtensionHeader),
            [kind, length, ref rest @ ..] => {
                let (value, rest) = rest
                    .split_at_checked(length.into())
                    .ok_or(FrameFate::BadIp)?;
                router_alert |= kind == ROUTER_ALERT && value == [0, 0];
                rest
            }
            [_] => return Err(FrameFate::BadIp),
        };
    }
}

//! Values of options: what may be typed, and what to write instead.

use std::net::SocketAddr;
use std::time::Duration;

use super::port_spec::bounded;

/// A share of all, in percent.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let percent = text
        .strip_suffix('%')
        .map(|number| number.trim().parse::<f64>());
    match percent {
        Some(Ok(percent)) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is no share; write 1% or 0.1%")),
    }
}

pub(super) fn memory(text: &str) -> Result<u64, String> {
    bounded(text, 64 << 20, 64 << 30)
}

pub(super) fn buffer(text: &str) -> Result<u64, String> {
    bounded(text, 1 << 10, 16 << 20)
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 10s or 250ms"))
}

/// A length of time that is not nothing.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing happens in no time; write 10s or 250ms".into()),
        time => Ok(time),
    }
}

/// Names are not looked up: what is measured is one address.
pub(super) fn target(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(target) if target.port() > 0 => Ok(target),
        _ => Err("write an IP address and a port, such as 10.77.1.1:80 or [fd77:1::1]:80".into()),
    }
}

/// Requests per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.trim().replace('_', "").parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err(format!(
            "`{text}` is no rate; write requests per second, such as 10000"
        )),
    }
}

pub(super) fn rates(text: &str) -> Result<(f64, f64), String> {
    match text.split_once("..") {
        Some((from, to)) => Ok((rate(from)?, rate(to)?)),
        None => rate(text).map(|rate| (rate, rate)),
    }
}

pub(super) fn sweep(text: &str) -> Result<(f64, f64, u32), String> {
    let (range, steps) = text.split_once('/').unwrap_or((text, "10"));
    let Some((from, to)) = range.split_once("..") else {
        return Err("write FROM..TO, such as 10000..200000".into());
    };
    let (from, to) = (rate(from)?, rate(to)?);
    match steps.parse() {
        Ok(steps @ 2..=100) if from < to => Ok((from, to, steps)),
        Ok(2..=100) => Err("the second rate must be higher than the first".into()),
        _ => Err(format!("`{steps}` is no number of steps from 2 to 100")),
    }
}

pub(super) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) => Ok((name.to_owned(), value.trim().to_owned())),
        None => Err("write 'Name: value'".into()),
    }
}

pub(super) fn key(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, such as RPC_PERSIST_LANE=blue or 10=prod".into()),
    }
}

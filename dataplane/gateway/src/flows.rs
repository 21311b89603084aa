//! `sluice flows`: the flows of a running gateway as a table, or as JSON.

use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;

use serde_json::Value;

use crate::client::{self, ClientError};
use crate::log;

/// Flows asked for at a time.
const PAGE: usize = 10_000;

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct FlowsArgs {
    /// The gateway's admin address.
    #[arg(long, value_name = "ADDRESS", default_value = client::DEFAULT)]
    admin: SocketAddr,
    /// Flows at most.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// Those with the most bytes in and out since they began, most first; all flows are looked at for it.
    #[arg(long)]
    heaviest: bool,
    /// JSON as the admin interface gives it, instead of a table.
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum FlowsError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the gateway's answer is not what was asked for ({0}); is it another version?")]
    Answer(#[from] serde_json::Error),
    #[error("stdout takes no output: {0}")]
    Output(#[from] std::io::Error),
}

/// Shows the flows.
pub(crate) fn command(args: &FlowsArgs) -> ExitCode {
    match show(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(error);
            ExitCode::FAILURE
        }
    }
}

fn show(args: &FlowsArgs) -> Result<(), FlowsError> {
    let flows = fetch(args.admin, args.limit, args.heaviest)?;
    let text = if args.json {
        format!("{flows:#}\n")
    } else {
        table(&flows)
    };
    stdout().write_all(text.as_bytes())?;
    Ok(stdout().flush()?)
}

/// Pages as one answer, with so many flows at most: the first ones, or the heaviest of all.
fn fetch(admin: SocketAddr, limit: usize, heaviest: bool) -> Result<Value, FlowsError> {
    let mut list = Vec::new();
    let mut from = Value::from(0);
    loop {
        let page = match heaviest {
            true => PAGE,
            false => (limit - list.len()).clamp(1, PAGE),
        };
        let text = client::get_text(admin, &format!("/flows?limit={page}&from={from}"))?;
        let mut answer: Value = serde_json::from_str(&text)?;
        if let Some(Value::Array(flows)) = answer.get_mut("list").map(Value::take) {
            list.extend(flows);
        }
        if heaviest {
            keep_heaviest(&mut list, limit);
        }
        from = answer.get("next").cloned().unwrap_or_default();
        if from.is_null() || (list.len() >= limit && !heaviest) {
            answer["list"] = Value::Array(list);
            return Ok(answer);
        }
    }
}

fn keep_heaviest(list: &mut Vec<Value>, limit: usize) {
    let bytes = |flow: &Value| {
        let count = |name| flow.get(name).and_then(Value::as_u64).unwrap_or(0);
        count("bytes_in").saturating_add(count("bytes_out"))
    };
    list.sort_by_key(|flow| std::cmp::Reverse(bytes(flow)));
    list.truncate(limit);
}

const TITLES: [&str; 14] = [
    "WORKER", "PORT", "STATE", "OWNER", "LOCAL", "REMOTE", "AGE", "IDLE", "IN", "OUT", "RECV-Q",
    "SEND-Q", "RTT", "RETRANS",
];

/// A line per flow, in columns as wide as what stands in them.
fn table(answer: &Value) -> String {
    let flows = answer.get("list").and_then(Value::as_array);
    let titles = TITLES.map(str::to_owned);
    let rows: Vec<[String; 14]> = std::iter::once(titles)
        .chain(flows.into_iter().flatten().map(row))
        .collect();
    let mut widths = [0; TITLES.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
    let _ = writeln!(
        text,
        "{} of {} flows; {} half open, {} in TIME-WAIT",
        rows.len() - 1,
        count("flows"),
        count("half_open"),
        count("time_wait")
    );
    text
}

fn row(flow: &Value) -> [String; 14] {
    let text = |name: &str| flow.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| flow.get(name).and_then(Value::as_u64);
    let count = |name: &str| number(name).map_or_else(|| "-".into(), |n| n.to_string());
    let time = |name: &str| number(name).map_or_else(|| "-".into(), time);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    [
        count("worker"),
        or_none(text("port")),
        or_none(text("state")),
        or_none(text("listener").or_else(|| text("service"))),
        or_none(text("local")),
        or_none(text("remote")),
        time("age_us"),
        time("idle_us"),
        count("bytes_in"),
        count("bytes_out"),
        count("receive_queue"),
        count("send_queue"),
        time("rtt_us"),
        count("retransmissions"),
    ]
}

/// Microseconds in the unit that a person would choose.
fn time(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{micros}us"),
        10_000..10_000_000 => format!("{}ms", micros / 1_000),
        _ => format!("{}s", micros / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_heaviest_are_those_with_the_most_bytes_both_ways() {
        let flow = |number: u64, bytes_in: u64, bytes_out: u64| json!({ "worker": number, "bytes_in": bytes_in, "bytes_out": bytes_out });
        let mut list = vec![
            flow(0, 5, 5),
            flow(1, 0, 900),
            flow(2, 800, 0),
            flow(3, 500, 500),
        ];
        keep_heaviest(&mut list, 2);
        let kept: Vec<u64> = list.iter().map(|f| f["worker"].as_u64().unwrap()).collect();
        assert_eq!(kept, [3, 1]);
    }

    #[test]
    fn a_table_has_a_line_per_flow_and_dashes_for_what_is_not_known() {
        let flow = json!({
            "worker": 1, "port": "front", "state": "ESTABLISHED", "listener": "web", "service": null,
            "local": "10.0.0.1:80", "remote": "10.0.0.2:1024", "age_us": 12_000_000,
            "idle_us": 900, "bytes_in": 77, "bytes_out": 1234, "receive_queue": 0,
            "send_queue": 5, "rtt_us": null, "retransmissions": 2,
        });
        let answer = json!({ "flows": 3, "half_open": 1, "time_wait": 4, "list": [flow] });
        assert_eq!(
            table(&answer),
            "\
WORKER  PORT   STATE        OWNER  LOCAL        REMOTE         AGE  IDLE   IN  OUT   RECV-Q  SEND-Q  RTT  RETRANS
1       front  ESTABLISHED  web    10.0.0.1:80  10.0.0.2:1024  12s  900us  77  1234  0       5       -    2
1 of 3 flows; 1 half open, 4 in TIME-WAIT
"
        );
    }
}

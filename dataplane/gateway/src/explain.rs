//! `sluice explain`: what the rules of a file make of one request, and why.

use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use sluice_policy::{Because, ExplainError, Explanation, Question, compile, explain, load};

use crate::check::{SHOWN, show};
use crate::log;

/// What to explain.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The rules, a YAML file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Method and URL, such as 'GET http://shop.example.com/cart'; or a call, such as
    /// ttheader://shop.cart/GetCart, or thrift:///GetCart for one without a head.
    #[arg(value_name = "REQUEST")]
    request: String,
    /// A header of the request, such as 'x-user: alice', or a key of the call, such as env=test; may be
    /// given more than once.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The listener that accepts it; without it, the first that the URL fits.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Who connects; without it, 192.0.2.1, which is nobody.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Explain(#[from] ExplainError),
    #[error("cannot be shown as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("stdout takes no output: {0}")]
    Output(#[from] std::io::Error),
}

/// Explains a request.
pub(crate) fn command(args: ExplainArgs) -> ExitCode {
    let snapshot = match load(&args.config).and_then(|rules| compile(&rules)) {
        Ok(snapshot) => snapshot,
        Err(problems) => {
            show(&problems, SHOWN);
            return ExitCode::FAILURE;
        }
    };
    let question = Question {
        request: args.request,
        headers: args.headers,
        listener: args.listener,
        from: args.from,
        wall: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .map(|since| since.as_secs()),
    };
    let said = explain(&snapshot, &question).map_err(CommandError::from);
    match said.and_then(|said| print(&said, args.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(error);
            ExitCode::FAILURE
        }
    }
}

fn print(said: &Explanation, json: bool) -> Result<(), CommandError> {
    let text = if json {
        format!("{:#}\n", serde_json::to_value(said)?)
    } else {
        as_text(said)
    };
    stdout().write_all(text.as_bytes())?;
    Ok(stdout().flush()?)
}

/// A line for each thing, what belongs together one below the other.
fn as_text(said: &Explanation) -> String {
    let mut text = String::new();
    let mut line = |title: &str, what: &str| {
        let _ = writeln!(text, "{title:10}{what}");
    };
    line(
        "listener",
        &format!("{}, client {}", said.listener, said.client),
    );
    if let Some(lane) = &said.lane {
        line("lane", &lane.to_string());
    }
    if let Some(ignored) = &said.ignored {
        line("ignored", ignored);
    }
    let none = || "none".to_owned();
    line(
        "route",
        &said.route.as_ref().map_or_else(none, Because::to_string),
    );
    for (place, becomes) in said.becomes.iter().enumerate() {
        line(if place == 0 { "then" } else { "" }, becomes);
    }
    if !said.endpoints.is_empty() {
        line("endpoint", &said.endpoints.join(", "));
    }
    if let Some(why) = &said.no_endpoint {
        line("endpoint", &format!("none: {why}"));
    }
    for (place, miss) in said.near_misses.iter().enumerate() {
        let title = if place == 0 { "not" } else { "" };
        line(title, &miss.to_string());
    }
    if said.more_near_misses > 0 {
        line("", &format!("and {} more", said.more_near_misses));
    }
    if !said.later.is_empty() {
        line("later", &said.later.join(", "));
    }
    text
}

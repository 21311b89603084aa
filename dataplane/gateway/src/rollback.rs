//! `sluice rollback`: a running gateway goes back to rules that it had before.

use std::io::{Read, Write, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use crate::client::{self, ClientError};
use crate::log;

/// Where to, and of which gateway.
#[derive(Debug, clap::Args)]
pub(crate) struct RollbackArgs {
    /// The gateway's admin address.
    #[arg(long, value_name = "ADDRESS", default_value = client::DEFAULT)]
    admin: SocketAddr,
    /// The generation to go back to; without it, the one before that in force.
    #[arg(long, value_name = "GENERATION")]
    to: Option<u64>,
    /// Only list the generations that can be gone back to.
    #[arg(long, conflicts_with = "to")]
    list: bool,
}

/// How long a gateway may take: it looks names up first, for 5 s at most, and compiles the rules.
const PATIENCE: Duration = Duration::from_secs(30);

/// Rolls back.
pub(crate) fn command(args: &RollbackArgs) -> ExitCode {
    let asked = if args.list {
        client::get_text(args.admin, "/history")
    } else {
        let path = match args.to {
            Some(generation) => format!("/rollback?to={generation}"),
            None => "/rollback".to_owned(),
        };
        client::ask_for(args.admin, "POST", &path, PATIENCE).map(|mut body| {
            let mut text = String::new();
            // It is a line for people; what was asked for has happened.
            let _ = body.read_to_string(&mut text);
            text
        })
    };
    match asked {
        Ok(text) => {
            let _ = stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(ClientError::Silent(admin, after)) => {
            log::error(format_args!(
                "no answer from {admin} within {after:?}; it may still happen, see `sluice rollback --list`"
            ));
            ExitCode::FAILURE
        }
        Err(error) => {
            log::error(error);
            ExitCode::FAILURE
        }
    }
}

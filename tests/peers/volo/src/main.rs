//! A client and a server of volo-thrift, told by their arguments what to do; see README.md.

mod call;
mod echo;
mod serve;

use std::process::ExitCode;
use std::str::FromStr;

const USAGE: &str = "volo-peer serve --listen ADDRESS [--multiplex]
volo-peer call --to ADDRESS [--service NAME] [--caller NAME] [--method call|echo|tell]
    [--transport ttheader-framed|ttheader|framed|buffered] [--compact] [--multiplex]
    [--clients N] [--tasks N] [--calls N] [--size BYTES] [--act ACT] [--timeout MILLISECONDS]
    [--persist KEY=VALUE] [--transit KEY=VALUE] [--unchecked]";

/// `--name value` and `--name` of the command line.
struct Arguments(Vec<String>);

impl Arguments {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        let place = self.0.iter().position(|argument| argument == name)?;
        self.0.get(place + 1).map(String::as_str)
    }

    fn value<T: FromStr>(&self, name: &str, default: T) -> T {
        match self.text(name).map(str::parse) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(_)) => panic!("{name}: what is it?\n{USAGE}"),
        }
    }

    /// `KEY=VALUE`.
    fn pair(&self, name: &str) -> Option<(String, String)> {
        let (key, value) = self.text(name)?.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let arguments = Arguments(words.collect());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("tokio starts");
    match &*command {
        "serve" => runtime.block_on(serve::serve(&arguments)),
        "call" => runtime.block_on(call::call(&arguments)),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

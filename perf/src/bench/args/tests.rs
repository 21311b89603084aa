//! What can be typed, and what the document says of it.

use clap::{CommandFactory, Parser};

use super::*;
use crate::load::plan::RequestFile;

#[derive(Debug, Parser)]
struct Bench {
    #[command(subcommand)]
    command: BenchCommand,
}

const DOCUMENT: &str = include_str!("../../../../docs/bench.md");

/// The words of a line, quotes taken off as a shell does; what it would send elsewhere left out.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match (c, words.last_mut()) {
            ('\'', _) => quoted = !quoted,
            (' ', _) if !quoted => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            _ => {}
        }
    }
    words.retain(|word| !word.starts_with('>') && !word.is_empty());
    words
}

#[test]
fn the_definition_is_consistent() {
    Bench::command().debug_assert();
}

#[test]
fn every_command_in_the_document_is_one() {
    let commands = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("    sluice "));
    let mut seen = 0;
    for command in commands {
        if let Err(error) = Bench::try_parse_from(words(command)) {
            panic!("{command}: {error}");
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn every_port_in_the_document_is_one() {
    let quoted = DOCUMENT.split('`').skip(1).step_by(2);
    let ports = quoted.filter(|text| {
        text.starts_with("device=") || (text.starts_with("interface=") && !text.contains(' '))
    });
    let mut seen = 0;
    for port in ports {
        let text = format!("{port};address=10.0.0.2/24");
        text.parse::<PortSpec>()
            .unwrap_or_else(|error| panic!("{port}: {error}"));
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn the_file_of_requests_in_the_document_is_one() {
    let block: String = DOCUMENT
        .lines()
        .skip_while(|line| line.trim() != "requests:")
        .take_while(|line| line.starts_with("    "))
        .map(|line| format!("{line}\n"))
        .collect();
    let file: RequestFile = serde_saphyr::from_str(&block).unwrap();
    assert_eq!(file.requests.len(), 3);
}

#[test]
fn every_option_of_a_run_that_the_document_names_is_there() {
    let command = Bench::command();
    let run = command.find_subcommand("run").unwrap();
    let known: Vec<String> = run
        .get_arguments()
        .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
        .collect();
    let section = DOCUMENT
        .split("\n## ")
        .find(|s| s.starts_with("sluice bench run"));
    for word in section
        .unwrap()
        .split(|c: char| c.is_whitespace() || c == '`')
    {
        let option = word
            .split('=')
            .next()
            .unwrap()
            .trim_end_matches([',', '.', ':', ';']);
        let elsewhere = ["--help", "--schema", "--from"].contains(&option);
        if option.starts_with("--") && !elsewhere {
            assert!(known.iter().any(|name| name == option), "{option}");
        }
    }
}

#[test]
fn what_contradicts_itself_is_wrong_usage() {
    for line in [
        "bench run",
        "bench run --target 10.0.0.1:80",
        "bench run --client interface=a;address=10.0.0.2/24",
        "bench run --target nowhere --client interface=a;address=10.0.0.2/24",
        "bench run --target 10.0.0.1:0 --client interface=a;address=10.0.0.2/24",
        "bench run --backend listen=80 --duration 0s",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --arrivals poisson",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --rate 0",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --sweep 10..5",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --sweep 5..10/1",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --sweep 5..10 --rate 5",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --expect p98<1ms",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 -c 0",
        "bench run --backend listen=80 --memory 1",
        "bench run --backend listen=80 --buffer 0",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --body 1025GiB",
        "bench run --backend listen=80;body=1025GiB",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --requests a.yaml --path /",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --protocol ttheader --calls 0",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --protocol ttheader --calls 2 --close",
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --protocol ttheader --key LANE",
        // Of requests and reports, where only a backend is run.
        "bench run --backend listen=80 -n 5",
        "bench run --backend listen=80 -c 5",
        "bench run --backend listen=80 --close",
        "bench run --backend listen=80 --rate 5",
        "bench run --backend listen=80 --path /",
        "bench run --backend listen=80 --expect errors=0",
        "bench run --backend listen=80 --json out.json",
        "bench run --backend listen=80 --stages",
        // Nothing that could come back.
        "bench run --target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24 --echo",
    ] {
        let error = Bench::try_parse_from(words(line)).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn a_backend_alone_takes_what_is_about_it_and_no_options_show_the_help() {
    let line = "bench run --backend listen=80 -d 5s --requests a.yaml --protocol ttheader --buffer 4KiB --core 0";
    assert!(Bench::try_parse_from(words(line)).is_ok());
    let error = Bench::try_parse_from(words("bench run")).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let said = error.to_string();
    assert!(
        said.contains("Examples:") && said.contains("--target <ADDRESS:PORT>"),
        "{said}"
    );
}

#[test]
fn rates_are_read_in_each_form() {
    let run = |more: &str| {
        let to = "--target 10.0.0.1:80 --client interface=a;address=10.0.0.2/24";
        let line = format!("bench run {to} {more}");
        match Bench::try_parse_from(words(&line)).unwrap().command {
            BenchCommand::Run(run) => run,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(run("").rate, None);
    assert_eq!(run("--rate 10_000").rate, Some((10_000.0, 10_000.0)));
    assert_eq!(run("--rate 10..500").rate, Some((10.0, 500.0)));
    let sweep = run("--sweep 10..500 --arrivals poisson");
    assert_eq!(sweep.sweep, Some((10.0, 500.0, 10)));
    assert_eq!(sweep.arrivals, Arrivals::Poisson);
    assert_eq!(run("--sweep 10..500/3").sweep, Some((10.0, 500.0, 3)));
}

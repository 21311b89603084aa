use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Only {
    #[command(flatten)]
    args: CaptureArgs,
}

fn parse(arguments: &[&str]) -> Result<CaptureArgs, clap::Error> {
    let all = ["sluice"].iter().chain(arguments);
    Only::try_parse_from(all).map(|only| only.args)
}

#[test]
fn every_flag_reaches_the_gateway() {
    let asked = path(&parse(&[]).unwrap());
    assert_eq!(
        asked,
        "/capture?packets=10000&seconds=60&bytes=67108864&snaplen=65535"
    );
    let flags = "--packets 1 --seconds 2 --bytes 5000 --snaplen 96 --port front --host fd77:1::2 \
                 --tcp-port 80 --direction out";
    let asked = path(&parse(&flags.split(' ').collect::<Vec<_>>()).unwrap());
    assert_eq!(
        asked,
        "/capture?packets=1&seconds=2&bytes=5000&snaplen=96&port=front&host=fd77:1::2&tcp-port=80&\
         direction=out"
    );
}

#[test]
fn values_out_of_range_are_wrong_usage() {
    for flags in [
        ["--seconds", "0"],
        ["--seconds", "3601"],
        ["--packets", "0"],
        ["--tcp-port", "0"],
        ["--host", "example.com"],
        ["--direction", "up"],
    ] {
        assert_eq!(parse(&flags).unwrap_err().exit_code(), 2, "{flags:?}");
    }
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = 12 + body.len() as u32;
    let numbers = [kind, length].map(u32::to_le_bytes);
    [&numbers.concat()[..], body, &length.to_le_bytes()].concat()
}

/// Statistics that say: so many lost, behind an option that does not matter.
fn statistics(lost: u64) -> Vec<u8> {
    let mut body = vec![0; 12];
    body.extend([2, 0, 8, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
    body.extend([5, 0, 8, 0]);
    body.extend(lost.to_le_bytes());
    body.extend([0; 4]);
    block(5, &body)
}

fn pass(file: &[u8]) -> (Result<Counts, String>, Vec<u8>) {
    let mut output = Vec::new();
    let write_error = |error| CaptureError::Write {
        path: "x".into(),
        error,
    };
    let counts = pass_on(BufReader::new(file), &mut output, write_error);
    (counts.map_err(|error| error.to_string()), output)
}

#[test]
fn blocks_are_passed_on_as_they_are_and_counted() {
    let file = [
        block(0x0a0d_0d0a, &[1; 16]),
        block(1, &[0; 8]),
        block(6, &[7; 40]),
        block(6, &[8; 44]),
        statistics(3),
        statistics(1 << 32),
    ]
    .concat();
    let (counts, output) = pass(&file);
    let expected = Counts {
        written: 2,
        lost: 3 + (1 << 32),
    };
    assert_eq!(counts, Ok(expected));
    assert!(output == file);
}

#[test]
fn a_file_without_its_end_is_said_to_be_broken_off() {
    let whole = [block(6, &[7; 40]), statistics(0)].concat();
    let packet = block(6, &[7; 40]).len();
    for length in [0, 3, packet, packet + 7, packet + 20] {
        let (counts, output) = pass(&whole[..length]);
        let error = counts.unwrap_err();
        assert!(error.contains("broke off"), "{length}: {error}");
        assert!(whole.starts_with(&output), "only whole blocks are written");
        assert_eq!(output.len() % packet, 0);
    }
}

#[test]
fn lengths_that_cannot_be_are_not_believed() {
    for length in [0, 11, LONGEST_BLOCK as u32 + 1, u32::MAX] {
        let file = [6, length].map(u32::to_le_bytes).concat();
        let (counts, _) = pass(&file);
        assert!(counts.unwrap_err().contains("a block of"), "{length}");
    }
}

//! volo-thrift with itself: what it does without a gateway.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::{METADATA, METADATA_SEEN, OUTCOMES, call_here, volo};

/// A server on a port of its own, and where it listens.
struct Here(Child, String);

impl Here {
    fn start(options: &[&str]) -> Here {
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", &volo(), "serve"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its output can be read");
        let address = line.trim().strip_prefix("listening on ");
        let address = address.expect("it says where it listens").to_owned();
        Here(process, address)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn volo_talks_to_itself_in_every_mode() {
    let server = Here::start(&[]);
    for transport in ["ttheader-framed", "ttheader", "framed", "buffered"] {
        for encoding in ["", "--compact"] {
            let options =
                format!("--transport {transport} {encoding} --clients 2 --tasks 2 --calls 3");
            let ends = call_here(&server.1, &options);
            assert_eq!(ends.outcomes(), "12 ok", "{options}");
        }
    }
    let server = Here::start(&["--multiplex"]);
    let ends = call_here(&server.1, "--multiplex --tasks 20 --calls 5");
    assert_eq!(ends.outcomes(), "100 ok");
}

#[test]
fn volo_says_what_went_wrong() {
    let server = Here::start(&[]);
    for (act, expected) in OUTCOMES {
        let ends = call_here(&server.1, &format!("--act {act}"));
        assert_eq!(ends.outcomes(), expected, "{act}");
    }
    let ends = call_here(&server.1, "--timeout 500 --act wait:5000");
    assert_eq!(ends.outcomes(), "1 timeout of its own");
    let ends = call_here(&server.1, METADATA);
    for line in METADATA_SEEN {
        assert_eq!(ends.count(line), 1, "{line}: {ends:?}");
    }
    // A multiplexing client does not look at the biz-status: it sees the exception that carries it.
    let server = Here::start(&["--multiplex"]);
    let ends = call_here(&server.1, "--multiplex --act biz");
    let seen = "1 application 6 status_code: 1001, status_message: out of stock, extra: shelf: 7,";
    assert_eq!(ends.outcomes(), seen);
}

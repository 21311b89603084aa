//! thriftpy2, plain Thrift without TTHeader: through the gateway to a server of its own kind, and to
//! volo-thrift, which speaks TTHeader.

use std::path::Path;

use sluice_tests::lab::{Lab, printed};
use sluice_tests::peers;

use super::serve;
use super::volo::config;

/// What a client prints whose service denies as the test's does.
const ALL_WELL: &str =
    "echo 0 True\necho 200 True\necho 40000 True\ndeny 403 not today\necho after tell True\n";

/// A command of `peer.py`.
fn peer<'a>(python: &'a str, script: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&[python, script], words].concat()
}

fn paths() -> (String, String) {
    let python = peers::thriftpy(env!("CARGO_TARGET_TMPDIR"));
    let python = python.to_str().expect("its path is text").to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rpc/thriftpy/peer.py");
    let script = script.to_str().expect("its path is text").to_owned();
    (python, script)
}

#[test]
fn thriftpy_calls_thriftpy_through_the_gateway() {
    let lab = Lab::up();
    let (python, script) = paths();
    let config = config("none").replace("protocol: ttheader", "protocol: thrift");
    let _gateway = lab.gateway(&config);
    for framing in ["framed", "buffered"] {
        for encoding in ["binary", "compact"] {
            let words = ["serve", "10.77.2.2", "9000", framing, encoding];
            let _server = lab.serve(&peer(&python, &script, &words));
            let words = ["call", "10.77.1.1", "8888", framing, encoding];
            let output = lab.client(&peer(&python, &script, &words));
            let said = printed(&output);
            assert!(output.status.success(), "{framing} {encoding}: {said}");
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said, ALL_WELL, "{framing} {encoding}");
        }
    }
}

#[test]
fn thriftpy_calls_volo_which_speaks_ttheader() {
    let lab = Lab::up();
    let (python, script) = paths();
    let _server = serve(&lab, "--multiplex");
    let _gateway = lab.gateway(&config("message"));
    for framing in ["framed", "buffered"] {
        for encoding in ["binary", "compact"] {
            let words = ["call", "10.77.1.1", "8888", framing, encoding, "echo"];
            let output = lab.client(&peer(&python, &script, &words));
            let said = printed(&output);
            assert!(output.status.success(), "{framing} {encoding}: {said}");
            let said = String::from_utf8_lossy(&output.stdout);
            let well = ALL_WELL.replace("deny 403 not today\n", "");
            assert_eq!(said, well, "{framing} {encoding}");
        }
    }
    // It has no such method, and says so, to compact calls in binary; or it closes the connection first: its
    // task that sends picks by chance between the exception and the end of the one that reads.
    let words = ["call", "10.77.1.1", "8888", "framed", "binary"];
    let mut told = false;
    for _ in 0..20 {
        let output = lab.client(&peer(&python, &script, &words));
        let said = String::from_utf8_lossy(&output.stdout);
        let denied = said.lines().find_map(|line| line.strip_prefix("deny "));
        told = denied.is_some_and(|line| line.starts_with("1 "));
        let closed = "6 the service closed the connection before it answered";
        assert!(told || denied == Some(closed), "{}", printed(&output));
        if told {
            break;
        }
    }
    assert!(told, "the exception never came");
}

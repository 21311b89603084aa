//! Every example under configs/examples, played through the gateway in memory and virtual time: each
//! does what its comments say.

#[path = "../engine/world.rs"]
#[allow(dead_code, reason = "shared with the tests of the engine")]
mod world;

#[path = "../engine/rpc/frames.rs"]
#[allow(dead_code, reason = "shared with the tests of the engine")]
mod frames;

mod answers;
mod beside;
mod changes;
mod choices;
mod explain;
mod gateway;
mod lanes;
mod matches;
mod rpc;

use std::collections::BTreeSet;
use std::fs;

/// Examples that a test plays, by the name of the file.
const PLAYED: [&str; 17] = [
    "conditions",
    "explain",
    "fallback",
    "fault",
    "headers",
    "lanes",
    "listeners",
    "mirror",
    "order",
    "paths",
    "redirect",
    "respond",
    "rewrite",
    "rpc",
    "sampling",
    "service-by-header",
    "split",
];

#[test]
fn every_example_is_played() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/examples");
    let files = fs::read_dir(folder).expect("there are examples");
    let names: BTreeSet<String> = files
        .map(|entry| entry.expect("it can be read").file_name())
        .map(|name| name.to_string_lossy().trim_end_matches(".yaml").to_owned())
        .collect();
    assert_eq!(names, PLAYED.map(str::to_owned).into());
    let here = [
        include_str!("answers.rs"),
        include_str!("beside.rs"),
        include_str!("changes.rs"),
        include_str!("choices.rs"),
        include_str!("explain.rs"),
        include_str!("lanes.rs"),
        include_str!("matches.rs"),
        include_str!("rpc.rs"),
    ]
    .concat();
    for name in PLAYED {
        assert!(
            here.contains(&format!("Example::new(\"{name}\")"))
                || here.contains(&format!("configs/examples/{name}.yaml")),
            "{name}"
        );
    }
}

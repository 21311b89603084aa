//! The lab without a gateway: what the other tests stand on.

use std::path::Path;

use sluice_tests::lab::{Lab, printed, script};

#[test]
fn nginx_answers_with_the_sizes_it_promises() {
    let lab = Lab::up();
    for (path, size) in [
        ("/", 100),
        ("/1k", 1024),
        ("/64k", 65_536),
        ("/1m", 1_048_576),
    ] {
        assert_eq!(lab.direct(path).len(), size, "{path}");
    }
    assert_eq!(lab.direct("/backend"), b"10.77.9.3\n");
}

#[test]
fn up_twice_is_fine_and_down_leaves_nothing() {
    let lab = Lab::up();
    let (name, directory) = (lab.name().to_owned(), lab.directory());
    let again = script(&["up", "--name", &name]);
    assert!(again.status.success(), "{}", printed(&again));
    let status = script(&["status", "--name", &name]);
    assert!(status.status.success(), "{}", printed(&status));

    drop(lab);
    assert!(!directory.exists());
    for place in ["client", "backend", "gateway"] {
        assert!(
            !Path::new("/run/netns")
                .join(format!("{name}-{place}"))
                .exists()
        );
    }
    assert_eq!(script(&["status", "--name", &name]).status.code(), Some(1));
    assert_eq!(script(&["down", "--name", &name]).status.code(), Some(0));
}

#[test]
fn two_labs_stand_side_by_side() {
    let (one, other) = (Lab::up(), Lab::up());
    assert_eq!(one.direct("/").len(), 100);
    drop(one);
    assert_eq!(other.direct("/").len(), 100);
}

#[test]
fn wrong_usage_says_what_to_type() {
    let output = script(&["sideways"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(printed(&output).contains("--help"));
}

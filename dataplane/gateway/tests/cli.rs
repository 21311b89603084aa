//! What the command answers without running a gateway.

mod common;

use common::{Config, RULES, printed, sluice};

const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");

#[test]
fn check_says_that_the_examples_are_fine() {
    for (example, counts) in [
        ("quickstart.yaml", "(1 listener, 1 route, 1 service)"),
        ("ingress.yaml", "(2 listeners, 7 routes, 6 services)"),
        ("ttheader.yaml", "(1 listener, 1 route, 1 service)"),
    ] {
        let file = format!("{CONFIGS}/{example}");
        let output = sluice(&["check", "--config", &file]);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        let said = String::from_utf8(output.stdout).unwrap();
        let (first, second) = said.split_once('\n').unwrap_or_default();
        assert_eq!(first, format!("{file}: ok {counts}"));
        assert!(second.starts_with("memory: at most "), "{second}");
    }
}

#[test]
fn check_and_run_refuse_less_memory_than_all_workers_buffers_take() {
    let rules = RULES.replace("memory: 64MiB", "count: 10, memory: 64MiB");
    let config = Config::new(&rules);
    for command in ["check", "run"] {
        let output = sluice(&[command, "--config", config.path()]);
        assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
        let said = String::from_utf8(output.stderr).unwrap();
        let refused = "workers.memory: 64 MiB are too little: 10 pools of packet buffers";
        let mend = "take 200 MiB together. Write memory: 200MiB";
        assert!(said.contains(refused) && said.contains(mend), "{said}");
    }
    let config = Config::new(&rules.replace("64MiB", "200MiB"));
    let output = sluice(&["check", "--config", config.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
}

#[test]
fn check_says_every_problem_on_a_line_with_its_place() {
    let config = Config::new(
        &RULES
            .replace("service: hello }", "service: helo }")
            .replace("10.99.1.2:8080", "10.5.5.5:8080"),
    );
    let output = sluice(&["check", "--config", config.path()]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with(&format!("{}:", config.path()))),
        "{said}"
    );
    assert!(said.contains("did you mean \"hello\"?"), "{said}");
}

#[test]
fn run_refuses_rules_with_problems_before_it_starts_anything() {
    let config = Config::new("listeners: { web: { adress: 1 } }");
    let output = config.run_to_end();
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("did you mean \"address\"?"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for command in ["check", "run"] {
        let output = sluice(&[command, "--config", "/nonexistent/sluice.yaml"]);
        assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
        assert!(printed(&output).contains("/nonexistent/sluice.yaml"));
    }
}

#[test]
fn schema_prints_the_file_that_is_shipped() {
    let output = sluice(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let shipped = std::fs::read(format!("{CONFIGS}/schema.json")).unwrap();
    assert!(
        output.stdout == shipped,
        "configs/schema.json is stale; write it anew with: sluice schema > configs/schema.json"
    );
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_0() {
    for arguments in [&["run"][..], &["chek"], &["run", "--config"], &[]] {
        let output = sluice(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
        assert!(output.stdout.is_empty());
    }
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let output = sluice(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn explain_says_which_way_a_request_goes_and_why() {
    let file = format!("{CONFIGS}/examples/lanes.yaml");
    let ask = |more: &[&str]| {
        let request = "GET http://test/cart";
        sluice(&[&["explain", "--config", &file, request], more].concat())
    };
    let output = ask(&["-H", "x-user: alice"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "listener  entry, client 192.0.2.1\n\
         lane      alice: lanes.tags[0], header x-user equal to \"alice\"\n\
         route     */cart: path /cart fits\n\
         then      service cart, its endpoints in lane alice\n          \
         the response has to begin within 30s, all has to be over within 3600s\n\
         endpoint  10.77.2.3:8080\n\
         later     */\n"
    );
    let output = ask(&[
        "--json",
        "--listener",
        "mesh",
        "--from",
        "10.77.1.9",
        "-H",
        "x-lane: alice",
    ]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["listener"], "mesh");
    assert_eq!(
        said["lane"]["because"][0],
        "it came with x-lane, and the peer is trusted"
    );
    assert_eq!(said["endpoints"][0], "10.77.2.3:8080");
    let output = ask(&["--listener", "nobody"]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(printed(&output).contains("no listener is called \"nobody\"; there are entry, mesh"));
}

#[test]
fn diff_says_in_words_what_would_change() {
    let (old, new) = (
        Config::new(RULES),
        Config::new(
            &RULES
                .replace("10.99.1.2:8080]", "10.99.1.2:8080, 10.99.1.3:8080]")
                .replace("memory: 64MiB", "memory: 128MiB"),
        ),
    );
    // Both with the same admin address.
    let text = std::fs::read_to_string(&new.path).unwrap();
    let text = text.replace(&new.admin.to_string(), &old.admin.to_string());
    std::fs::write(&new.path, text).unwrap();
    let output = sluice(&["diff", old.path(), new.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "service hello: endpoints: 10.99.1.3:8080 added",
            "workers: memory: from 64MiB to 128MiB"
        ]
    );
    assert!(
        lines[2].starts_with("a running gateway would refuse this: ")
            && lines[2].contains("workers cannot change"),
        "{said}"
    );
    let output = sluice(&["diff", old.path(), old.path()]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "nothing changes\n"
    );
    let broken = Config::new("routes: 1");
    let output = sluice(&["diff", old.path(), broken.path()]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
}

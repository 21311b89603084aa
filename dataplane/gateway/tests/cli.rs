//! What the command answers without running a gateway.

mod common;

use common::{Config, RULES, printed, sluice};

const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");

#[test]
fn check_says_that_the_examples_are_fine() {
    for (example, counts) in [
        ("quickstart.yaml", "(1 listener, 1 route, 1 service)"),
        ("ingress.yaml", "(2 listeners, 7 routes, 6 services)"),
    ] {
        let file = format!("{CONFIGS}/{example}");
        let output = sluice(&["check", "--config", &file]);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, format!("{file}: ok {counts}\n"));
    }
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

//! docs/http.md tells of every end that a request can have, with the status it is answered with.

use std::collections::BTreeSet;
use std::fs;

use sluice_engine::stats::RequestFate;
use sluice_stack::counters::Counted;

fn document(name: &str) -> String {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of each row of the tables of a document.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    rows.map(|row| {
        row.split(" | ")
            .map(|cell| cell.trim_matches(['`', ' ', '|']))
            .collect()
    })
}

#[test]
fn every_answer_of_the_gateways_own_is_in_the_table() {
    let metrics = document("metrics.md");
    let fates: BTreeSet<&str> = RequestFate::ALL.iter().map(|fate| fate.name()).collect();
    // `malformed` | Refused with 400: ...
    let mut expected = BTreeSet::new();
    for row in rows(&metrics).filter(|row| fates.contains(row[0])) {
        let statuses = row[1]
            .strip_prefix("Refused with ")
            .or_else(|| row[1].strip_prefix("Answered here with "))
            .and_then(|rest| rest.split_once([':', ',']));
        for status in statuses
            .into_iter()
            .flat_map(|(list, _)| list.split(" or "))
        {
            expected.insert((status.parse::<u16>().expect(status), row[0]));
        }
    }
    assert!(expected.len() > 15, "{expected:?}");
    let text = document("http.md");
    let told: BTreeSet<(u16, &str)> = rows(&text)
        .filter_map(|row| Some((row[0].parse().ok()?, *row.get(1)?)))
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn every_end_of_a_request_is_told_of() {
    let text = document("http.md");
    for fate in RequestFate::ALL {
        let name = fate.name();
        let told = name == "answered" || text.contains(&format!("`{name}`"));
        assert!(told, "docs/http.md does not tell of {name}");
    }
}

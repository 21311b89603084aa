//! docs/hostile-input.md shows the tables of these tests, and is written from them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use crate::requests::{Case, Why, corpus};
use crate::responses;
use crate::slow::ATTACKS;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hostile-input.md");

/// What the document says before the tables.
const START: &str = "<!-- Written from the tables in tests/tests/hostile, down to the end:";

#[test]
fn the_document_shows_every_case() {
    let document = fs::read_to_string(DOCUMENT).expect("docs/hostile-input.md can be read");
    let (before, _) = document
        .split_once(START)
        .expect("the tables begin with a comment");
    let expected = format!(
        "{before}{START}\nUPDATE_EXPECT=1 cargo nextest run -p sluice-tests -E 'test(/document_shows/)' -->\n{}",
        tables()
    );
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(DOCUMENT, &expected).expect("docs/hostile-input.md can be written");
    } else {
        assert!(
            document == expected,
            "docs/hostile-input.md is not what the tables say; write it anew as it says itself"
        );
    }
}

fn tables() -> String {
    let mut out = String::new();
    requests(&mut out);
    answers(&mut out);
    slowness(&mut out);
    differences(&mut out);
    out
}

fn requests(out: &mut String) {
    out.push_str("\n## Requests\n");
    for (question, cases) in corpus() {
        let _ = write!(out, "\n### {question}\n\n");
        out.push_str(
            "| Input | Reaches the service | Answer | Then | Fate |\n|---|---|---|---|---|\n",
        );
        for case in cases {
            let (asked, answer, then) = parts(case.sluice);
            let fates = fates(case.fates);
            let _ = writeln!(
                out,
                "| {} | {asked} | {answer} | {then} | {fates} |",
                case.name
            );
        }
    }
}

fn answers(out: &mut String) {
    out.push_str("\n## Answers of services\n\n");
    out.push_str("| Answer | The client gets | Then | Fate |\n|---|---|---|---|\n");
    for case in responses::cases() {
        let (first, rest) = case.client.split_once(' ').unwrap_or((case.client, ""));
        let interim = rest
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'));
        let interim = interim.map_or(String::new(), |(interim, _)| format!(" after {interim}"));
        let cut = rest == "closed";
        let then = if cut { "cut off, closed" } else { "open" };
        let own: Vec<_> = case
            .fates
            .split(", ")
            .filter(|fate| !fate.starts_with("answered"))
            .collect();
        let own = if own.is_empty() {
            "answered".into()
        } else {
            own.join(", ")
        };
        let _ = writeln!(
            out,
            "| {} | {first}{interim} | {then} | `{own}` |",
            case.name
        );
    }
}

fn slowness(out: &mut String) {
    out.push_str("\n## Slowness\n\n");
    out.push_str("| Client | Answer | Then | Fate | Bounded by |\n|---|---|---|---|---|\n");
    for attack in ATTACKS {
        let (answer, then) = attack.outcome.split_once(' ').unwrap_or_default();
        let bound = attack.bound.replace(", ", "`, `");
        let _ = writeln!(
            out,
            "| {} | {answer} | {then} | `{}` | `{bound}` |",
            attack.name, attack.fate
        );
    }
}

fn differences(out: &mut String) {
    out.push_str("\n## Where nginx and HAProxy do otherwise\n");
    let mut by_reason: BTreeMap<Why, Vec<Case>> = BTreeMap::new();
    for case in corpus().into_iter().flat_map(|(_, cases)| cases) {
        by_reason.entry(case.why).or_default().push(case);
    }
    for (why, cases) in by_reason.into_iter().filter(|(why, _)| *why != Why::Same) {
        let _ = write!(out, "\n{}\n\n", why.text());
        out.push_str("| Input | Sluice | nginx | HAProxy |\n|---|---|---|---|\n");
        for case in cases {
            let [nginx, haproxy] = case.others.map(whole);
            let _ = writeln!(
                out,
                "| {} | {} | {nginx} | {haproxy} |",
                case.name,
                whole(case.sluice)
            );
        }
    }
}

/// What reaches the service, the answers, and what becomes of the connection.
fn parts(outcome: &str) -> (String, String, &str) {
    let (asked, answer) = outcome.split_once(" -> ").unwrap_or_default();
    let asked = match asked {
        "" => "nothing".into(),
        asked => code(asked),
    };
    let (statuses, then) = answer.rsplit_once(' ').unwrap_or(("none yet", answer));
    (asked, statuses.replace(' ', ", "), then)
}

fn whole(outcome: &str) -> String {
    if let Some((one, other)) = outcome.split_once(" or ") {
        return format!("{} or {}", whole(one), whole(other));
    }
    let (asked, statuses, then) = parts(outcome);
    match asked.as_str() {
        "nothing" => format!("{statuses} {then}"),
        _ => format!("{asked} {statuses} {then}"),
    }
}

fn fates(fates: &str) -> String {
    let list: Vec<_> = fates.split(", ").map(|fate| format!("`{fate}`")).collect();
    list.join(", ").replace(" 2`", "` twice")
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

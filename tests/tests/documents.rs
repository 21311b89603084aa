//! The documents say what is so: configurations in them compile, files they name exist, crates they
//! list are the crates there are.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents() -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "perf/README.md",
    ]
    .map(|name| root().join(name))
    .into();
    let docs = fs::read_dir(root().join("docs")).expect("docs/ is there");
    paths.extend(docs.map(|entry| entry.expect("docs/ can be read").path()));
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a document can be read");
            (path.display().to_string(), text)
        })
        .collect()
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let pieces = text.split(&fence).skip(1);
    pieces
        .filter_map(|piece| Some(piece.split_once("```")?.0.to_owned()))
        .collect()
}

#[test]
fn configurations_in_documents_compile() {
    let mut seen = 0;
    for (name, text) in documents() {
        for block in blocks(&text, "yaml") {
            let compiled = sluice_policy::parse(&block, &name)
                .and_then(|rules| sluice_policy::compile(&rules));
            if let Err(problems) = compiled {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                panic!("{}", lines.join("\n"));
            }
            seen += 1;
        }
    }
    assert!(seen > 0, "no document shows a configuration");
}

#[test]
fn a_problem_reads_as_the_readme_shows_it() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md can be read");
    let line = readme
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("gateway.yaml:"))
        .expect("the README shows a problem");
    // The same mistake at the same place.
    let text = "ports:\n  front:\n    interface: a\n    addresses: [10.0.0.1/24]\nlisteners:\n  \
                web:\n    address: 10.0.0.1:80\nservices:\n  hello:\n    \
                endpoints: [10.0.0.2:80]\nroutes:\n  - service: helo\n";
    let rules = sluice_policy::parse(text, "gateway.yaml").expect("it is YAML of the right form");
    let problems = sluice_policy::compile(&rules).expect_err("there is no service helo");
    assert_eq!(problems[0].to_string(), line);
}

#[test]
fn files_that_documents_name_exist() {
    let mut missing = BTreeSet::new();
    for (name, text) in documents() {
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        let quoted = text.split('`').skip(1).step_by(2).map(|code| (code, ""));
        for (target, _) in links.chain(quoted) {
            let base = Path::new(&name)
                .parent()
                .expect("a document is in a directory");
            let looks_like_a_path = target.contains('/')
                && !target.contains("://")
                && !target.contains([' ', '{', '<', '*', '='])
                && [
                    "scripts/",
                    "configs/",
                    "docs/",
                    "perf/",
                    "tests/",
                    "dataplane/",
                    "ffi/",
                    ".ci/",
                ]
                .iter()
                .any(|start| target.starts_with(start));
            let markdown = target.ends_with(".md") && !target.contains(' ');
            let found = base.join(target).exists() || root().join(target).exists();
            if (looks_like_a_path || markdown) && !found {
                missing.insert(format!("{name}: {target}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn tests_that_documents_name_exist() {
    let mut sources = String::new();
    for directory in [
        "dataplane/stack/src",
        "dataplane/stack/tests",
        "tests/tests",
    ] {
        read_sources(&root().join(directory), &mut sources);
    }
    let text = fs::read_to_string(root().join("docs/hostile-input.md")).expect("it can be read");
    let (_, section) = text
        .split_once("## Frames and segments")
        .expect("a section");
    let (section, _) = section.split_once("<!--").expect("its end");
    let is_test = |name: &&str| name.matches('_').count() > 3 && !name.contains('/');
    let mut seen = 0;
    for name in section.split('`').skip(1).step_by(2).filter(is_test) {
        assert!(
            sources.contains(&format!("fn {name}(")),
            "no test is called {name}"
        );
        seen += 1;
    }
    assert!(seen >= 20, "{seen} tests");
}

/// Appends all Rust sources below a directory.
fn read_sources(directory: &Path, sources: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_sources(&path, sources);
        } else if path.extension().is_some_and(|end| end == "rs") {
            sources.push_str(&fs::read_to_string(&path).expect("a source can be read"));
        }
    }
}

#[test]
fn architecture_lists_the_crates_there_are() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it can be read");
    let listed: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('`');
            let (name, _, place) = (cells.next()?, cells.next()?, cells.next()?);
            Some((name.to_owned(), place.to_owned()))
        })
        .collect();
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata runs");
    let workspace = metadata.workspace_root.clone();
    let there: BTreeSet<(String, String)> = metadata
        .workspace_packages()
        .iter()
        .filter_map(|package| {
            let directory = package
                .manifest_path
                .parent()?
                .strip_prefix(&workspace)
                .ok()?;
            Some((package.name.to_string(), directory.to_string()))
        })
        .collect();
    assert_eq!(listed, there);
}

/// The names behind the stops of a packet: each is a function in the file given for it.
#[test]
fn architecture_names_functions_that_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it can be read");
    let section = text
        .split("\n## The way of a packet")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("the section is there");
    let mut seen = 0;
    // A stop is written `Type::function` (`file`).
    for (before, after) in section
        .match_indices("` (`")
        .map(|(at, _)| section.split_at(at))
    {
        let stop = before.rsplit('`').next().unwrap_or_default();
        let file = after[4..].split('`').next().unwrap_or_default();
        let name = stop.rsplit("::").next().unwrap_or(stop);
        let path = [root().join(file), root().join("dataplane").join(file)];
        let source = path.iter().find_map(|path| fs::read_to_string(path).ok());
        let source = source.unwrap_or_else(|| panic!("no file {file}"));
        let defined = ["fn ", "struct ", "enum "]
            .iter()
            .any(|kind| source.contains(&format!("{kind}{name}")));
        assert!(defined, "{file} has no {name}");
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} stops name what they are and where");
}

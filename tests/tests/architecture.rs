//! The dependency rules between the rooms of the house, kept by `cargo metadata`.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// Which crate of the workspace may import which, as ARCHITECTURE.md draws it.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    (
        "sluice-gateway",
        &[
            "sluice-engine",
            "sluice-port",
            "sluice-policy",
            "sluice-control-client",
            "sluice-perf",
        ],
    ),
    (
        "sluice-perf",
        &[
            "sluice-port",
            "sluice-stack",
            "sluice-engine",
            "sluice-policy",
            "sluice-wire",
        ],
    ),
    (
        "sluice-engine",
        &["sluice-stack", "sluice-policy", "sluice-wire"],
    ),
    ("sluice-port", &["sluice-stack", "dpdk"]),
    ("dpdk", &["dpdk-sys"]),
    ("dpdk-sys", &[]),
    ("sluice-stack", &[]),
    ("sluice-control-client", &["sluice-policy"]),
    ("sluice-policy", &["sluice-wire"]),
    ("sluice-wire", &[]),
];

/// The only crates that may name these libraries in their own manifest.
const OWNERS: &[(&str, &[&str])] = &[
    ("smoltcp", &["sluice-stack"]),
    ("tokio", &["sluice-gateway", "sluice-control-client"]),
    ("tonic", &["sluice-control-client"]),
    ("prost", &["sluice-control-client"]),
];

/// The data path, and what must not be below it however far down.
const PURE: &[&str] = &[
    "sluice-wire",
    "sluice-policy",
    "sluice-stack",
    "sluice-engine",
];
const IMPURE: &[&str] = &["dpdk", "dpdk-sys", "tokio", "tonic", "prost"];

/// The only crates with `unsafe` in them.
const UNSAFE: &[&str] = &["dpdk", "dpdk-sys"];

/// End to end tests reach into every room.
const TESTS: &str = "sluice-tests";

fn metadata() -> Metadata {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .other_options(["--filter-platform".to_owned(), host])
        .exec()
        .expect("cargo metadata failed")
}

/// What a package needs to run: neither for its tests nor for its build script.
fn runtime_dependencies(package: &Package) -> impl Iterator<Item = &str> {
    let normal = package
        .dependencies
        .iter()
        .filter(|d| d.kind == DependencyKind::Normal);
    normal.map(|dependency| dependency.name.as_str())
}

#[test]
fn crates_import_only_what_the_plan_allows() {
    let metadata = metadata();
    let members = metadata.workspace_packages();
    let names: HashSet<&str> = members
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let rules: HashMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut broken = BTreeSet::new();
    for package in members
        .iter()
        .filter(|package| package.name.as_str() != TESTS)
    {
        let name = package.name.as_str();
        let Some(allowed) = rules.get(name) else {
            broken.insert(format!("{name} has no rule in MAY_IMPORT"));
            continue;
        };
        for import in runtime_dependencies(package).filter(|import| names.contains(import)) {
            if !allowed.contains(&import) {
                broken.insert(format!("{name} must not import {import}"));
            }
        }
    }
    let gone = rules.keys().filter(|name| !names.contains(*name));
    broken.extend(gone.map(|name| format!("{name} has a rule but is no crate of the workspace")));
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn libraries_are_named_only_by_their_owners() {
    let metadata = metadata();
    let mut broken = BTreeSet::new();
    for package in metadata.workspace_packages() {
        for import in runtime_dependencies(package) {
            let owners = OWNERS.iter().find(|(library, _)| *library == import);
            if let Some((_, owners)) = owners
                && !owners.contains(&package.name.as_str())
            {
                broken.insert(format!("{} must not import {import}", package.name));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn data_path_reaches_neither_dpdk_nor_an_async_runtime() {
    let metadata = metadata();
    let mut broken = BTreeSet::new();
    for name in PURE {
        for reached in reachable(&metadata, name) {
            if IMPURE.contains(&reached.as_str()) {
                broken.insert(format!("{name} reaches {reached}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    // The walk does find such things where they are allowed.
    assert!(reachable(&metadata, "sluice-port").contains("dpdk-sys"));
}

/// Names of all packages below this one, by what each needs to run.
fn reachable(metadata: &Metadata, from: &str) -> BTreeSet<String> {
    let names: HashMap<&PackageId, &str> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, package.name.as_str()))
        .collect();
    let resolve = metadata
        .resolve
        .as_ref()
        .expect("cargo metadata without a resolution");
    let below: HashMap<&PackageId, Vec<&PackageId>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let normal = node.deps.iter().filter(|dependency| {
                dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal)
            });
            (&node.id, normal.map(|dependency| &dependency.pkg).collect())
        })
        .collect();

    let start = names.iter().find(|(_, name)| **name == from);
    let mut to_visit = vec![*start.unwrap_or_else(|| panic!("no crate {from}")).0];
    let mut reached = HashSet::new();
    while let Some(package) = to_visit.pop() {
        if reached.insert(package) {
            to_visit.extend(&below[package]);
        }
    }
    reached
        .iter()
        .map(|package| names[package].to_owned())
        .collect()
}

#[test]
fn unsafe_stays_in_ffi() {
    let metadata = metadata();
    let mut broken = BTreeSet::new();
    let members = metadata.workspace_packages();
    for package in members
        .iter()
        .filter(|package| !UNSAFE.contains(&package.name.as_str()))
    {
        // Libraries and programs forbid it; of tests and benches it is enough to have none.
        let roots = package
            .targets
            .iter()
            .filter(|target| target.is_lib() || target.is_bin());
        for root in roots {
            let source = fs::read_to_string(&root.src_path).expect("a target without its source");
            if !source
                .lines()
                .any(|line| line.trim() == "#![forbid(unsafe_code)]")
            {
                broken.insert(format!("{} lacks #![forbid(unsafe_code)]", root.src_path));
            }
        }
        let directory = package
            .manifest_path
            .parent()
            .expect("a manifest is in a directory");
        for file in rust_files(directory.as_std_path()) {
            let source = fs::read_to_string(&file).expect("a source file that cannot be read");
            let begins = [" {", " fn", " impl", " extern"].map(|after| format!("unsafe{after}"));
            if begins.iter().any(|begin| source.contains(begin)) {
                broken.insert(format!("{} has unsafe code", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Time and chance are arguments of the data path, so that a whole worker can be simulated.
#[test]
fn data_path_reads_no_clock() {
    let metadata = metadata();
    let mut broken = BTreeSet::new();
    let members = metadata.workspace_packages();
    for package in members
        .iter()
        .filter(|package| PURE.contains(&package.name.as_str()))
    {
        let directory = package
            .manifest_path
            .parent()
            .expect("a manifest is in a directory");
        for file in rust_files(&directory.as_std_path().join("src")) {
            let source = fs::read_to_string(&file).expect("a source file that cannot be read");
            for clock in ["std::time::Instant", "Instant::now", "SystemTime"] {
                if source.contains(clock) {
                    broken.insert(format!("{} uses {clock}", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// All Rust files of a directory and those below it, but for those of another package there: a peer that
/// the tests run is a program of its own, with code that its framework generates.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in directory.read_dir().expect("a crate without its directory") {
        let path = entry.expect("an unreadable directory").path();
        if path.join("Cargo.toml").exists() {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

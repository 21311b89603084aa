//! The files in configs/ are valid, and the schema there is that of the model.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_policy::{compile, load, schema};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

#[test]
fn every_config_compiles_and_names_its_schema() {
    let mut seen = 0;
    let folders = [configs(), configs().join("examples")];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    for entry in files {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let compiled = load(&path).and_then(|rules| compile(&rules));
        if let Err(problems) = compiled {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"));
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# yaml-language-server: $schema=schema.json\n")
                || text.starts_with("# yaml-language-server: $schema=../schema.json\n"),
            "{} does not name its schema in the first line",
            path.display()
        );
    }
    assert!(
        seen >= 17,
        "quickstart.yaml, ingress.yaml and the examples are there"
    );
}

/// `SLUICE_WRITE_SCHEMA=1 cargo test -p sluice-policy --test configs` writes the file anew.
#[test]
fn the_shipped_schema_is_that_of_the_model() {
    let path = configs().join("schema.json");
    if std::env::var_os("SLUICE_WRITE_SCHEMA").is_some() {
        fs::write(&path, schema()).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        schema(),
        "configs/schema.json is not of this model; write it anew with \
         SLUICE_WRITE_SCHEMA=1 cargo test -p sluice-policy --test configs"
    );
}

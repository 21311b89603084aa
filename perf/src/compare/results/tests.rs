//! Rows and tables of measurements that were made up.

use std::sync::LazyLock;

use super::*;
use crate::report::latency::{Latency, histogram};
use crate::report::noise::Noise;
use crate::report::tests::run;

fn seen(rps: f64, busy_us: Option<f64>, limited_by: LimitedBy) -> Seen {
    // Each has histograms and the machine's fingerprint: made once.
    static RUN: LazyLock<RunReport> = LazyLock::new(|| run("made up"));
    let mut run = RUN.clone();
    run.rps = rps;
    run.limited_by = limited_by;
    run.totals.errors.clear();
    Seen {
        observation: Observation {
            run,
            busy_us,
            busy_share: None,
            resident_kib: 0,
            most_resident_kib: 0,
            system_gaps: None,
            noise: Noise::default(),
        },
        noisy: false,
    }
}

fn comparison() -> Comparison {
    let mut all = Comparison::new(Duration::from_secs(4));
    let systems = [
        (System::Direct, Wire::Veth, 400.0, None),
        (System::Sluice, Wire::Veth, 200.0, Some(5.0)),
        (System::Sluice, Wire::Memif, 800.0, Some(1.0)),
        (System::Envoy, Wire::Veth, 40.0, Some(25.0)),
    ];
    for (system, wire, rps, busy) in systems {
        for factor in [1.0, 1.2, 0.9] {
            let suiting = Test::ALL.into_iter();
            for test in suiting.filter(|test| test.suits(system)) {
                all.add(
                    system,
                    wire,
                    test,
                    seen(rps * factor, busy, LimitedBy::Target),
                );
            }
        }
    }
    all
}

#[test]
fn a_row_is_the_median_with_its_spread() {
    let rows = comparison().rows();
    // Envoy doesn't speak TTHeader.
    assert_eq!(rows.len(), 4 * Test::ALL.len() - 2);
    let row = rows
        .iter()
        .find(|row| {
            (row.system, row.test, row.wire) == (System::Sluice, Test::KeepAlive, Wire::Memif)
        })
        .unwrap();
    assert_eq!((row.rps, row.busy_us, row.rounds), (800.0, Some(1.0), 3));
    assert_eq!(
        row.rps_spread,
        Spread {
            min: 720.0,
            max: 960.0
        }
    );
    assert_eq!((row.noisy_rounds, row.errors), (0, 0));
}

#[test]
fn a_kernel_proxy_is_measured_with_what_made_it_faster() {
    use Receive::{Sender, Threaded};
    let tried = [(Sender, Some(20.0)), (Threaded, Some(30.0))];
    let trial = Trial::of(System::Nginx, &tried).unwrap();
    assert_eq!(trial.used, Threaded);
    assert_eq!(
        (trial.sender_rps, trial.threaded_rps),
        (Some(20.0), Some(30.0))
    );
    // One that is given needs no trial.
    let given = Trial::of(System::Envoy, &[(Threaded, None)]).unwrap();
    assert_eq!((given.used, given.threaded_rps), (Threaded, None));
    assert_eq!(Trial::of(System::Envoy, &[]), None);

    let mut all = comparison();
    all.trials.extend([trial, given]);
    assert_eq!(all.receive(System::Nginx), Threaded);
    assert_eq!(all.receive(System::Haproxy), Sender);
    let document: serde_json::Value = serde_json::from_str(&all.json()).unwrap();
    assert_eq!(document["receive"][0]["used"], "threaded");
    let table = all.tables().pop().unwrap();
    assert_eq!(table.rows[0], ["nginx", "threaded", "20", "30"]);
    assert_eq!(table.rows[1], ["envoy", "threaded", "-", "-"]);
}

#[test]
fn the_median_of_two_is_between_them() {
    assert_eq!(median(&[1.0, 3.0]), Some(2.0));
    assert_eq!(median(&[1.0, 3.0, 9.0]), Some(3.0));
    assert_eq!(median(&[]), None);
}

#[test]
fn the_limit_is_that_of_most_rounds() {
    use LimitedBy::{Generator, Target, Wire};
    assert_eq!(
        most([Target, Generator, Generator].into_iter()),
        Some(Generator)
    );
    assert_eq!(most([Target, Generator, Wire].into_iter()), Some(Target));
    assert_eq!(most(std::iter::empty()), None);
}

#[test]
fn the_document_has_the_names_that_scripts_read() {
    let document: serde_json::Value = serde_json::from_str(&comparison().json()).unwrap();
    assert_eq!(document["form"], "sluice-bench-compare/1");
    let rows = document["rows"].as_array().unwrap();
    let envoy = rows
        .iter()
        .find(|row| row["system"] == "envoy" && row["test"] == "http1-half-load")
        .unwrap();
    assert_eq!(envoy["wire"], "veth-af_xdp");
    assert_eq!(envoy["limited_by"], "target");
    for name in [
        "rps",
        "busy_us",
        "p50_us",
        "p99_us",
        "p999_us",
        "errors",
        "generator_busy",
    ] {
        assert!(envoy[name].is_number(), "{name}: {envoy}");
    }
    let direct = rows.iter().find(|row| row["system"] == "direct").unwrap();
    assert!(direct["busy_us"].is_null());
}

#[test]
fn wires_have_columns_of_their_own_and_ratios_name_theirs() {
    let tables = comparison().tables();
    let first = &tables[0];
    assert!(first.head[1].starts_with("veth") && first.head[7].starts_with("memif"));
    let sluice = first.rows.iter().find(|row| row[0] == "sluice").unwrap();
    assert_eq!(
        (sluice[1].as_str(), sluice[7].as_str()),
        ("200 ±15%", "800 ±15%")
    );
    let envoy = first.rows.iter().find(|row| row[0] == "envoy").unwrap();
    assert_eq!(envoy[7], "-");
    let ratios = tables.iter().find(|table| table.title == "Ratios").unwrap();
    assert_eq!(
        ratios.rows[0][..3],
        ["sluice veth-af_xdp to envoy veth-af_xdp", "5.00", "0.20"]
    );
    assert_eq!(
        ratios.rows[1][..3],
        ["sluice memif to envoy veth-af_xdp", "20.00", "0.04"]
    );
    for table in &tables {
        assert!(
            table.rows.iter().all(|row| row.len() == table.head.len()),
            "{table}"
        );
    }
}

#[test]
fn what_other_processes_disturbed_is_marked_in_ratios_as_in_its_table() {
    let mut all = Comparison::new(Duration::from_secs(1));
    let one = |noisy| Seen {
        noisy,
        ..seen(100.0, None, LimitedBy::Target)
    };
    all.add(System::Sluice, Wire::Veth, Test::KeepAlive, one(false));
    all.add(System::Nginx, Wire::Veth, Test::KeepAlive, one(true));
    all.add(System::Sluice, Wire::Veth, Test::Close, one(false));
    all.add(System::Nginx, Wire::Veth, Test::Close, one(false));
    let tables = all.tables();
    let nginx = tables[0].rows.iter().find(|row| row[0] == "nginx").unwrap();
    assert_eq!(nginx[1], "100*");
    let ratios = tables.iter().find(|table| table.title == "Ratios").unwrap();
    let row = &ratios.rows[0];
    assert_eq!((&*row[1], &*row[5]), ("1.00*", "1.00"));
}

#[test]
fn rounds_without_an_answer_have_no_latency() {
    let mut all = Comparison::new(Duration::from_secs(1));
    let mut none = seen(0.0, None, LimitedBy::Errors);
    none.observation.run.latency = Latency::of(&histogram());
    all.add(System::Nginx, Wire::Veth, Test::KeepAlive, none);
    let document: serde_json::Value = serde_json::from_str(&all.json()).unwrap();
    let row = &document["rows"][0];
    assert!(
        row["p50_us"].is_null() && row["p99_spread"].is_null(),
        "{row}"
    );
    assert_eq!(all.tables()[0].rows[0][3..6], ["-", "-", "-"]);
}

#[test]
fn a_p99_that_gaps_made_is_noise_and_one_without_is_the_systems() {
    let mut all = Comparison::new(Duration::from_secs(4));
    let add = |all: &mut Comparison, wire, generator: f64, system: f64| {
        let mut seen = seen(100.0, None, LimitedBy::Rate);
        let gaps = |seconds| Gaps {
            count: 1,
            seconds,
            longest_us: seconds * 1e6,
        };
        seen.observation.run.generator_gaps = gaps(generator);
        seen.observation.system_gaps = Some(gaps(system));
        all.add(System::Sluice, wire, Test::HalfLoad, seen);
    };
    // Of two seconds each; the third round has neither.
    for (generator, system) in [(0.006, 0.004), (0.002, 0.009), (0.0, 0.0)] {
        add(&mut all, Wire::Memif, generator, system);
        add(&mut all, Wire::Veth, generator / 2.0, 0.0);
    }
    let rows = all.rows();
    let of = |wire| rows.iter().find(|row| row.wire == wire).unwrap();
    let memif = of(Wire::Memif);
    assert_eq!(memif.p99_limited_by, LimitedBy::Noise);
    assert_eq!(memif.limited_by, LimitedBy::Rate);
    assert_eq!(
        (memif.generator_gaps, memif.system_gaps),
        (0.001, Some(0.002))
    );
    assert_eq!(memif.longest_gap_us, 9_000.0);
    assert!((memif.delayed - 0.01).abs() < 1e-9);
    assert_eq!(of(Wire::Veth).p99_limited_by, LimitedBy::Rate);
    let tables = all.tables();
    let took = tables
        .iter()
        .find(|table| table.title.starts_with("What the machine took"))
        .unwrap();
    let last = |row: &Vec<String>| row.last().cloned();
    let said: Vec<_> = took.rows.iter().filter_map(last).collect();
    assert_eq!(said, ["system", "noise"]);
}

#[test]
fn one_round_has_no_spread_and_others_than_sluice_have_dashes_for_ttheader() {
    let mut all = Comparison::new(Duration::from_secs(1));
    let one = || seen(100.0, None, LimitedBy::Target);
    all.add(System::Nginx, Wire::Veth, Test::KeepAlive, one());
    all.add(System::Sluice, Wire::Memif, Test::TtHeader, one());
    let tables = all.tables();
    assert_eq!(tables[0].rows[0][1], "100");
    let calls = tables
        .iter()
        .find(|table| table.title.starts_with("ttheader:"));
    let rows = &calls.unwrap().rows;
    assert_eq!(rows[0][..2], ["sluice", "-"]);
    assert_eq!(rows[0][7], "100");
    assert!(rows[1][0] == "nginx" && rows[1][1..].iter().all(|cell| cell == "-"));
}

#[test]
fn what_failed_has_dashes_and_its_reason_and_the_rest_stands() {
    let mut all = Comparison::new(Duration::from_secs(1));
    let one = || seen(100.0, None, LimitedBy::Target);
    all.add(System::Sluice, Wire::Veth, Test::Close, one());
    all.failures.push(Failure {
        system: System::Nginx,
        wire: Wire::Veth,
        what: "http1-close".into(),
        round: 2,
        reason: "nginx ended".into(),
    });
    let tables = all.tables();
    let rows = &tables[0].rows;
    assert_eq!(rows[0][..2], ["sluice", "100"]);
    assert!(rows[1][0] == "nginx" && rows[1][1..].iter().all(|cell| cell == "-"));
    let failed = tables.last().unwrap();
    assert_eq!(failed.title, "What failed");
    assert_eq!(
        failed.rows,
        [["nginx", "veth-af_xdp", "http1-close", "2", "nginx ended"]]
    );
    let document: serde_json::Value = serde_json::from_str(&all.json()).unwrap();
    assert_eq!(document["failures"][0]["reason"], "nginx ended");
    assert_eq!(document["rows"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_fingerprint_has_the_devices_of_all_wires_and_the_mean_noise() {
    let mut all = Comparison::new(Duration::from_secs(1));
    for (wire, device, noise) in [
        (
            Wire::Memif,
            "net_memif front, MAC 02:00:00:00:00:01, MTU 1500",
            0.2,
        ),
        (
            Wire::Memif,
            "net_memif front, MAC 02:00:00:00:00:02, MTU 1500",
            0.1,
        ),
        (Wire::Veth, "net_af_xdp front", 0.3),
    ] {
        let mut one = seen(100.0, None, LimitedBy::Target);
        one.observation.run.fingerprint.devices = vec![device.into()];
        one.observation.noise = Noise {
            cores: vec![0, 1],
            steal: noise,
            foreign: noise / 2.0,
        };
        all.add(System::Sluice, wire, Test::KeepAlive, one);
    }
    let document: serde_json::Value = serde_json::from_str(&all.json()).unwrap();
    let fingerprint = &document["fingerprint"];
    let devices = serde_json::json!(["net_af_xdp front", "net_memif front, MTU 1500"]);
    assert_eq!(fingerprint["devices"], devices);
    let noise = &fingerprint["noise"];
    assert!(
        (noise["steal"].as_f64().unwrap() - 0.2).abs() < 1e-9,
        "{noise}"
    );
    assert!(
        (noise["foreign"].as_f64().unwrap() - 0.1).abs() < 1e-9,
        "{noise}"
    );
    assert_eq!(noise["cores"], serde_json::json!([0, 1]));
}

#[test]
fn every_name_is_in_the_schema_with_a_description() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let mut all = comparison();
    all.failures.push(Failure {
        system: System::Nginx,
        wire: Wire::Veth,
        what: "memory".into(),
        round: 1,
        reason: String::new(),
    });
    all.trials
        .extend(Trial::of(System::Envoy, &[(Receive::Threaded, None)]));
    all.memory.push(Memory {
        system: System::Envoy,
        wire: Wire::Veth,
        connections: 1,
        idle_mib: 1.0,
        kib_per_connection: 1.0,
        errors: 0,
    });
    let document: serde_json::Value = serde_json::from_str(&all.json()).unwrap();
    let described = |value: &serde_json::Value, schema: &serde_json::Value| {
        for name in value.as_object().unwrap().keys() {
            assert!(
                schema["properties"][name]["description"].is_string(),
                "{name}: {schema}"
            );
        }
    };
    described(&document, &schema);
    for (list, of) in [
        ("rows", "Row"),
        ("memory", "Memory"),
        ("receive", "Trial"),
        ("failures", "Failure"),
    ] {
        described(&document[list][0], &schema["$defs"][of]);
    }
}

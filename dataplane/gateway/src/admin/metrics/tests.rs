use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_engine::stack::fate::{FrameFate, StackEvent};
use sluice_engine::stats::{ConnectionProtocol, EngineEvent, Refused, RequestFate, RpcEvent};
use sluice_engine::traffic::{MethodKey, Outcome, RouteKey};

use super::*;

/// Two ports, the second with a name that needs escaping, and a count here and there.
fn reading() -> Reading {
    let port = |name: &str| PortReading {
        name: name.into(),
        device: PortStats {
            rx_missed: 3,
            ..PortStats::default()
        },
        interface_dropped: 6,
        link_up: true,
        unread_queues: 0,
        queues: PeerQueues {
            receive: 2,
            transmit: 1,
        },
        buffers_free: 8_000,
        buffers: 8_191,
        steering: Some(Arc::default()),
    };
    let stats = Arc::new(WorkerStats::new(2));
    stats.statuses.count(200);
    let route = RouteKey {
        route: "shop".into(),
        service: "hello".into(),
    };
    let route = stats.traffic.routes.of(&route);
    route.record(Duration::from_micros(60));
    route.record(Duration::from_secs(11));
    // Of what has not had a request there is nothing to show.
    stats.traffic.routes.of(&RouteKey {
        route: "quiet".into(),
        service: "hello".into(),
    });
    stats.traffic.services.of(&"quiet".into());
    let service = stats.traffic.services.of(&"hello".into());
    service.record(Duration::from_millis(1));
    let method = MethodKey {
        service: "hello".into(),
        method: "Echo".into(),
    };
    let method = stats.traffic.methods.of(&method);
    method.outcomes.count(Outcome::BizStatus);
    method.times.record(Duration::from_millis(2));
    stats.statuses.count(0);
    stats.requests.add(RequestFate::Answered, 4);
    stats.stack.frames.add(FrameFate::Syn, 5);
    let io = IoStats {
        rx_frames: 7,
        tx_full: 2,
        driver_cycles: 500,
        ..IoStats::default()
    };
    let worker = |name: &str, stats: &Arc<WorkerStats>| WorkerReading {
        name: name.into(),
        stats: stats.clone(),
        io: vec![io; 2],
        driver_cycles: 500,
        cycles: Split {
            busy: 1_000,
            idle: 9_000,
        },
        polls: Split { busy: 10, idle: 90 },
        age: Some(Duration::from_millis(1_500)),
        gaps: Gaps {
            count: 2,
            cycles: 5_000_000,
            longest: 4_000_000,
        },
    };
    // The second worker's route has had the same.
    Reading {
        ports: vec![port("front"), port("ba\"ck")],
        workers: vec![worker("0", &stats), worker("1", &stats)],
        tsc_hz: 2_500_000_000,
        generation: 3,
        rejected: 1,
        compiled_in: Duration::from_micros(2_500),
        draining: false,
        access_log: LogReading {
            written: 90,
            queue_full: 8,
            write_failed: 2,
        },
        lookups: Default::default(),
        names: (2, 1),
    }
}

#[test]
fn routes_and_services_appear_with_their_first_request() {
    let text = render(&reading());
    assert!(text.contains("route=\"shop\""), "{text}");
    assert!(!text.contains("quiet"), "{text}");
}

/// Name to type and label names, after checking that the text is well formed.
fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families = BTreeMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line
            .strip_prefix("# HELP ")
            .unwrap()
            .split_once(' ')
            .unwrap();
        assert!(help.ends_with('.'), "{line}");
        let (same, kind) = lines
            .next()
            .unwrap()
            .strip_prefix("# TYPE ")
            .unwrap()
            .split_once(' ')
            .unwrap();
        assert_eq!(name, same);
        assert_eq!(
            kind == "counter",
            name.ends_with("_total"),
            "{name} is a {kind}"
        );
        let (mut labels, mut seen) = (BTreeSet::new(), BTreeSet::new());
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            assert!(
                seen.insert(sample.rsplit_once(' ').unwrap().0),
                "{sample} stands twice"
            );
            let (series, value) = sample.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let mut inner = series.strip_prefix(name).unwrap();
            if kind == "histogram" {
                let parts = ["_bucket", "_sum", "_count"];
                inner = parts
                    .iter()
                    .find_map(|part| inner.strip_prefix(part))
                    .unwrap();
            }
            if let Some(inner) = inner.strip_prefix('{') {
                let inner = inner.strip_suffix("\"}").unwrap();
                labels.extend(
                    inner
                        .split("\",")
                        .map(|label| label.split_once("=\"").unwrap().0.to_owned()),
                );
            }
        }
        assert!(!seen.is_empty(), "{name} has no sample");
        let before = families.insert(name.to_owned(), (kind.to_owned(), labels));
        assert!(before.is_none(), "{name} stands twice");
    }
    families
}

#[test]
fn the_text_is_well_formed_and_says_what_was_counted() {
    let text = render(&reading());
    families(&text);
    for line in [
        "sluice_frames_total{worker=\"0\",port=\"front\",direction=\"rx\"} 7",
        "sluice_frames_total{worker=\"0\",port=\"ba\\\"ck\",direction=\"tx\"} 0",
        "sluice_tx_dropped_total{worker=\"0\",port=\"front\",reason=\"queue_full\"} 2",
        "sluice_device_dropped_total{port=\"front\",reason=\"rx_missed\"} 3",
        "sluice_device_dropped_total{port=\"front\",reason=\"rx_interface\"} 6",
        "sluice_pool_buffers{port=\"front\",state=\"used\"} 191",
        "sluice_frame_fates_total{worker=\"0\",fate=\"syn\"} 5",
        "sluice_requests_total{worker=\"0\",status=\"none\"} 1",
        "sluice_requests_total{worker=\"0\",status=\"200\"} 1",
        "sluice_request_fates_total{worker=\"0\",fate=\"answered\"} 4",
        "sluice_cycles_total{worker=\"0\",kind=\"driver\"} 500",
        "sluice_request_duration_seconds_bucket{route=\"shop\",service=\"hello\",le=\"0.00005\"} 0",
        "sluice_request_duration_seconds_bucket{route=\"shop\",service=\"hello\",le=\"0.0001\"} 2",
        "sluice_request_duration_seconds_bucket{route=\"shop\",service=\"hello\",le=\"10\"} 2",
        "sluice_request_duration_seconds_bucket{route=\"shop\",service=\"hello\",le=\"+Inf\"} 4",
        "sluice_request_duration_seconds_sum{route=\"shop\",service=\"hello\"} 22.00012",
        "sluice_request_duration_seconds_count{route=\"shop\",service=\"hello\"} 4",
        "sluice_upstream_first_byte_seconds_bucket{service=\"hello\",le=\"0.001\"} 2",
        "sluice_cycles_total{worker=\"1\",kind=\"idle\"} 9000",
        "sluice_downstream_connections{worker=\"1\"} 0",
        "sluice_rpc_calls_total{service=\"hello\",method=\"Echo\",outcome=\"biz_status\"} 2",
        "sluice_rpc_duration_seconds_count{service=\"hello\",method=\"Echo\"} 2",
        "sluice_access_log_lines_total 90",
        "sluice_access_log_dropped_total{reason=\"queue_full\"} 8",
        "sluice_rules_generation 3",
        "sluice_rules_rejected_total 1",
        "sluice_rules_compile_seconds 0.0025",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line} in\n{text}"
        );
    }
}

#[test]
fn every_fate_and_event_is_listed_even_at_zero() {
    let text = render(&reading());
    let listed = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(
        listed("sluice_frame_fates_total{"),
        2 * FrameFate::ALL.len()
    );
    assert_eq!(
        listed("sluice_stack_events_total{"),
        2 * StackEvent::ALL.len()
    );
    assert_eq!(
        listed("sluice_request_fates_total{"),
        2 * RequestFate::ALL.len()
    );
    assert_eq!(listed("sluice_events_total{"), 2 * EngineEvent::ALL.len());
}

/// Rows of docs/metrics.md are `| name | type | labels | meaning |`.
#[test]
fn the_documented_metrics_are_the_exported_ones() {
    let document = include_str!("../../../../../docs/metrics.md");
    let documented: BTreeMap<_, _> = document
        .lines()
        .filter(|line| line.starts_with("| `sluice_"))
        .map(|line| {
            let cells: Vec<&str> = line
                .split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect();
            let labels: BTreeSet<String> = cells[3]
                .split(',')
                .map(|label| label.trim().trim_matches('`').to_owned())
                .filter(|label| !label.is_empty())
                .collect();
            (cells[1].to_owned(), (cells[2].to_owned(), labels))
        })
        .collect();
    assert_eq!(documented, families(&render(&reading())));
}

/// Every label value that is listed in docs/metrics.md with its meaning.
#[test]
fn the_documented_fates_and_events_are_the_counted_ones() {
    fn names<C: Counted>() -> Vec<&'static str> {
        C::ALL.iter().map(|what| what.name()).collect()
    }
    let document = include_str!("../../../../../docs/metrics.md");
    for (heading, counted) in [
        ("## Frame fates", names::<FrameFate>()),
        ("## Stack events", names::<StackEvent>()),
        ("## Request fates", names::<RequestFate>()),
        ("## Events", names::<EngineEvent>()),
        ("## RPC events", names::<RpcEvent>()),
        ("## Refused frames of RPCs", names::<Refused>()),
        ("## Connection protocols", names::<ConnectionProtocol>()),
        ("## RPC outcomes", names::<Outcome>()),
    ] {
        let section = document
            .split(heading)
            .nth(1)
            .unwrap_or_else(|| panic!("no {heading}"));
        let documented: Vec<&str> = section
            .lines()
            .skip(1)
            .take_while(|line| !line.starts_with("## "))
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        assert_eq!(documented, counted, "{heading}");
    }
}

//! `/services`: where requests go, and how that goes. docs/admin.md says what each field means, and a
//! test keeps the two the same.

use humantime::format_rfc3339_millis;
use serde_json::{Map, Value, json};
use sluice_control_client::names::NameView;
use sluice_engine::stack::counters::Counted;
use sluice_engine::stack::time::Instant;
use sluice_engine::traffic::{EndpointFailure, EndpointKey, EndpointStats};
use sluice_policy::{Endpoint, Lookup, Snapshot};

use crate::rates::Rates;
use crate::wall::Reading;

/// All services of the rules, with what was counted of their endpoints.
pub(super) fn services(
    rules: &Snapshot,
    names: &[NameView],
    rates: &Rates,
    clock: &Reading,
) -> Value {
    let traffic = rates.traffic();
    let services = rules.services.iter().map(|service| {
        let endpoints = service.endpoints.iter().map(|to| {
            let key = EndpointKey {
                service: service.name.clone(),
                address: to.address,
                port: to.port,
            };
            // It is not there until a worker has adopted the rules that name it.
            let stats = traffic.endpoints.get(&key).unwrap_or_default();
            endpoint(rules, to, &stats, rates.of(&key), clock)
        });
        let mut shown = json!({
            "name": &*service.name,
            "endpoints": endpoints.collect::<Vec<_>>(),
        });
        if !service.names.is_empty() {
            shown["names"] = service
                .names
                .iter()
                .map(|own| name(own, names))
                .collect::<Vec<_>>()
                .into();
            let unreachable = service.unreachable.iter();
            shown["unreachable"] = unreachable
                .map(|own| Value::from(own.to_string()))
                .collect::<Vec<_>>()
                .into();
        }
        shown
    });
    json!({
        "generation": rules.generation,
        "services": services.collect::<Vec<_>>(),
    })
}

/// What an endpoint's name stands for, and why that is not newer.
fn name(own: &Lookup, names: &[NameView]) -> Value {
    let own = own.to_string();
    let known = names.iter().find(|known| known.name == own);
    json!({
        "name": own,
        "addresses": known.map_or(&[][..], |known| &known.addresses),
        "error": known.and_then(|known| known.error.as_deref()),
    })
}

fn endpoint(
    rules: &Snapshot,
    to: &Endpoint,
    stats: &EndpointStats,
    rate: f64,
    clock: &Reading,
) -> Value {
    let (connections, idle) = (stats.connections.get(), stats.idle.get());
    json!({
        "address": to.address.to_string(),
        "port": rules.ports.get(to.port).map(|port| &*port.name),
        "connections": connections,
        "idle": idle,
        "in_flight": connections.saturating_sub(idle),
        "requests": stats.requests.get(),
        "requests_per_second": (rate * 10.0).round() / 10.0,
        "failures": failures(stats),
        "last_failure": last_failure(stats, clock),
    })
}

fn failures(stats: &EndpointStats) -> Map<String, Value> {
    let totals = stats.failures.iter();
    totals
        .map(|(what, total): (EndpointFailure, u64)| (what.name().to_owned(), total.into()))
        .collect()
}

fn last_failure(stats: &EndpointStats, clock: &Reading) -> Option<String> {
    let nanos = stats.last_failure.get();
    let time = (nanos != 0).then(|| clock.time(Instant::from_nanos(nanos)))?;
    Some(format_rfc3339_millis(time).to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::sync::Arc;

    use sluice_engine::traffic::Traffic;

    use super::*;
    use crate::wall::Wall;

    fn snapshot() -> Snapshot {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/quickstart.yaml");
        sluice_policy::compile(&sluice_policy::load(config.as_ref()).unwrap()).unwrap()
    }

    #[test]
    fn endpoints_are_shown_with_what_was_counted_of_them() {
        let traffic = Arc::<Traffic>::default();
        let (rules, rates) = (snapshot(), Rates::new(vec![traffic.clone()]));
        let service = &rules.services[0];
        let stats = traffic.endpoints.of(&EndpointKey {
            service: service.name.clone(),
            address: service.endpoints[1].address,
            port: service.endpoints[1].port,
        });
        stats.connections.set(5);
        stats.idle.set(3);
        stats.requests.set(70);
        stats.failures.add(EndpointFailure::ConnectFailed, 2);
        stats.last_failure.set(1);
        let shown = services(&rules, &[], &rates, &Wall::new(0, 1).read());
        let [first, second] = [0, 1].map(|n| &shown["services"][0]["endpoints"][n]);
        assert_eq!(first["requests"], 0);
        assert_eq!(first["last_failure"], Value::Null);
        assert_eq!(second["address"], service.endpoints[1].address.to_string());
        assert_eq!(
            (&second["connections"], &second["idle"]),
            (&5.into(), &3.into())
        );
        assert_eq!(
            (&second["in_flight"], &second["requests"]),
            (&2.into(), &70.into())
        );
        assert_eq!(second["failures"]["connect_failed"], 2);
        assert!(second["last_failure"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn the_documented_fields_are_those_shown() {
        let doc = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/admin.md");
        let doc = fs::read_to_string(doc).unwrap();
        let section = |title: &str| -> BTreeSet<String> {
            let (_, section) = doc.split_once(&format!("\n## {title}\n")).unwrap();
            let section = section.split("\n## ").next().unwrap();
            let rows = section.lines().filter_map(|row| row.strip_prefix("| `"));
            rows.map(|row| row.split_once('`').unwrap().0.to_owned())
                .collect()
        };
        let rates = Rates::new(Vec::new());
        let shown = services(&snapshot(), &[], &rates, &Wall::new(0, 1).read());
        let endpoint = shown["services"][0]["endpoints"][0].as_object().unwrap();
        let failures = endpoint["failures"].as_object().unwrap();
        let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(section("Fields of an endpoint"), keys(endpoint));
        assert_eq!(section("Failures of an endpoint"), keys(failures));
    }
}

//! How long requests took, by route and service.

use sluice_engine::stack::counters::Counted;
use sluice_engine::traffic::{BOUNDS, Histogram as Times, MethodKey, RouteKey, Traffic};

use super::super::text::{Kind::Counter, Kind::Histogram, Text};

pub(super) fn latency(text: &mut Text, traffic: &Traffic) {
    let help = "How long requests took, from the first byte of their head to their end.";
    text.family("sluice_request_duration_seconds", Histogram, help);
    for (RouteKey { route, service }, times) in traffic.routes.all() {
        if is_empty(&times) {
            continue;
        }
        histogram(text, &[("route", &route), ("service", &service)], &times);
    }
    let help = "How long answers took to begin, from the end of the request's head.";
    text.family("sluice_upstream_first_byte_seconds", Histogram, help);
    for (service, times) in traffic.services.all() {
        if is_empty(&times) {
            continue;
        }
        histogram(text, &[("service", &service)], &times);
    }
}

/// What has come of remote procedure calls, and how long they took, by service and method.
pub(super) fn methods(text: &mut Text, traffic: &Traffic) {
    let methods = traffic.methods.all();
    let help = "Remote procedure calls that a service was found for, by what has come of them.";
    text.family("sluice_rpc_calls_total", Counter, help);
    for (MethodKey { service, method }, stats) in &methods {
        for (outcome, total) in stats.outcomes.iter() {
            let labels = [
                ("service", &**service),
                ("method", &**method),
                ("outcome", outcome.name()),
            ];
            text.sample(&labels, total);
        }
    }
    let help = "How long they took, from their first byte to their end.";
    text.family("sluice_rpc_duration_seconds", Histogram, help);
    for (MethodKey { service, method }, stats) in &methods {
        let labels = [("service", &**service), ("method", &**method)];
        histogram(text, &labels, &stats.times);
    }
}

/// Nothing was counted yet: of thousands of routes most may never have a request.
fn is_empty(times: &Times) -> bool {
    times.buckets().iter().all(|&count| count == 0)
}

fn histogram(text: &mut Text, labels: &[(&str, &str)], times: &Times) {
    let mut total = 0;
    let bounds = BOUNDS.map(|nanos| (nanos as f64 / 1e9).to_string());
    let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
    for (count, bound) in times.buckets().into_iter().zip(bounds) {
        total += count;
        text.part("_bucket", &[labels, &[("le", bound)]].concat(), total);
    }
    text.part("_sum", labels, times.sum().as_secs_f64());
    text.part("_count", labels, total);
}

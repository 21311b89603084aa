//! Lanes: every name that anything gives one, and who is tagged how.

use std::collections::BTreeSet;

use sluice_wire::http1::{HeaderEdit, HeaderKind};
use sluice_wire::ttheader::{integer, string};

use super::known::Known;
use super::matching::{self, Wanted};
use super::report::Report;
use super::{protocols, rpc};
use crate::lanes::{Lanes, Tag, TagFrom};
use crate::matching::{Condition, Regexes, RpcKey, hash, mix};
use crate::rules::{self, Rules, Short};
use crate::snapshot::ListenerId;
use crate::yaml::Path;

/// Most tags: each can be asked for by every request.
const MAX_TAGS: usize = 256;

pub(super) fn compile(
    rules: &Rules,
    regexes: &mut Regexes,
    report: &mut Report<'_>,
) -> Option<Lanes> {
    let names = names(rules, report);
    let own = rules.lanes.as_ref()?;
    let path = Path::section("lanes");
    let header = own.header.to_ascii_lowercase();
    let at = path.key("header");
    let legal = HeaderEdit::remove(header.as_bytes()).is_ok();
    if !legal || HeaderKind::of(header.as_bytes()) != HeaderKind::Other || header == "expect" {
        let message = format!("{:?} cannot carry the lane", own.header);
        let mend = "write a header of your own, such as x-lane".to_owned();
        report.refuse(&at, message, mend);
    }
    if own.tags.len() > MAX_TAGS {
        report.wrong(&path.key("tags"), format!("has more than {MAX_TAGS} tags"));
    }
    let mut lanes = Lanes {
        header: header.into(),
        key: carrier(&path.key("key"), &own.key, report),
        tags: Vec::new(),
        names: names.into_iter().map(Into::into).collect(),
    };
    let listeners = Known::new("listener", &rules.listeners);
    let mut tags = Vec::with_capacity(own.tags.len());
    for (index, tag) in own.tags.iter().enumerate() {
        let path = path.key("tags").index(index);
        let lane = match &tag.lane {
            Short::Short(name) => lanes.find(name.as_bytes()).map(TagFrom::Lane),
            Short::Full(rules::Key::Source) => {
                let mend = "write header, cookie, query or key";
                report.mend(&path.key("lane"), "an address names no lane", mend);
                None
            }
            Short::Full(key) => {
                let at = path.key("lane");
                Some(TagFrom::Request(matching::key(&at, key, report)))
            }
        };
        let http = [
            ("headers", !tag.headers.is_empty()),
            ("query", !tag.query.is_empty()),
            ("cookies", !tag.cookies.is_empty()),
        ];
        let protocols = protocols::by_conditions(&path, &http, tag.rpc.is_some(), report);
        let calls = rpc::calls(&path.key("rpc"), tag.rpc.as_ref(), regexes, report);
        let wanted = Wanted {
            method: None,
            headers: &tag.headers,
            query: &tag.query,
            cookies: &tag.cookies,
            rpc: calls.into_conditions(),
            source: tag.source.as_ref(),
            sample: tag.sample.as_ref(),
            salt: mix(hash(b"tag") ^ index as u64),
        };
        let mut conditions = Vec::new();
        if let Some(name) = &tag.listener {
            let found = listeners.find(&path.key("listener"), name, report);
            conditions.extend(found.map(|(at, _)| Condition::Listener(ListenerId(at))));
        }
        conditions.extend(matching::conditions(&path, wanted, regexes, report));
        tags.extend(lane.map(|lane| Tag {
            lane,
            protocols,
            conditions: conditions.into(),
        }));
    }
    lanes.tags = tags;
    Some(lanes)
}

/// The key that carries the lane in remote procedure calls: one that travels from hop to hop.
fn carrier(at: &Path, name: &str, report: &mut Report<'_>) -> RpcKey {
    let key = RpcKey::parse(name);
    let travels = match &key {
        Some(RpcKey::Integer(number)) => matches!(*number, integer::ENV | integer::STRESS_TAG),
        Some(RpcKey::String(own)) => {
            own.len() > string::PERSIST_PREFIX.len() && own.starts_with(string::PERSIST_PREFIX)
        }
        None => false,
    };
    if !travels {
        let message = format!("{name:?} does not travel from service to service");
        let mend = "write RPC_PERSIST_LANE, env or stress_tag".to_owned();
        report.refuse(at, message, mend);
    }
    key.unwrap_or(RpcKey::Integer(integer::ENV))
}

/// Every lane that an endpoint, a tag or a route names.
fn names(rules: &Rules, report: &mut Report<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |path: &Path, name: &str, report: &mut Report<'_>| {
        if names.insert(name.to_owned()) {
            report.name(path, name);
        }
    };
    if let Some(lanes) = &rules.lanes {
        for (index, tag) in lanes.tags.iter().enumerate() {
            let path = Path::section("lanes").key("tags").index(index).key("lane");
            if let Short::Short(name) = &tag.lane {
                add(&path, name, report);
            }
        }
    }
    for (service, own) in &rules.services {
        let path = Path::section("services").key(service).key("endpoints");
        for (index, endpoint) in own.endpoints.iter().enumerate() {
            let path = path.index(index).key("lane");
            let Short::Full(form) = endpoint else {
                continue;
            };
            if let Some(name) = &form.lane {
                add(&path, name, report);
                if rules.lanes.is_none() && !report.is_any_broken("lanes") {
                    report.mend(&path, "there are no lanes", "add a section `lanes`");
                }
            }
        }
    }
    for (index, route) in rules.routes.iter().enumerate() {
        let path = Path::section("routes").index(index).key("lane");
        for (path, name) in route.lane.iter().flat_map(|lanes| lanes.entries(&path)) {
            add(&path, name, report);
        }
    }
    names
}

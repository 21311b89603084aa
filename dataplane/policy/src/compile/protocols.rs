//! Which protocols a rule is for. It need not say so: what it says decides.

use super::report::Report;
use crate::rules::{self, HeaderEdits, KeyEdits, Short};
use crate::snapshot::Protocols;
use crate::yaml::Path;

/// The protocols of a rule by its conditions: which of these keys, that only HTTP has, it states, and
/// whether it has conditions that only remote procedure calls have.
pub(super) fn by_conditions(
    at: &Path,
    http: &[(&str, bool)],
    rpc: bool,
    report: &mut Report<'_>,
) -> Protocols {
    let http = http.iter().find(|(_, stated)| *stated);
    match (http, rpc) {
        (Some((key, _)), true) => {
            let message = format!("stands beside `{key}`, which only HTTP has");
            let mend = "make it two, one for each protocol";
            report.mend(&at.key("rpc"), message, mend);
            Protocols::All
        }
        (Some(_), false) => Protocols::Http,
        (None, true) => Protocols::Rpc,
        (None, false) => Protocols::All,
    }
}

/// The protocols of a route.
pub(super) fn of_route(at: &Path, route: &rules::Route, report: &mut Report<'_>) -> Protocols {
    let any_path = matches!(&route.path, Short::Short(path) if path == "/");
    let http = [
        ("host", route.host != "*"),
        ("path", !any_path),
        ("method", route.method.is_some()),
        ("headers", !route.headers.is_empty()),
        ("query", !route.query.is_empty()),
        ("cookies", !route.cookies.is_empty()),
        ("redirect", route.redirect.is_some()),
        ("rewrite", route.rewrite.is_some()),
    ];
    let protocols = by_conditions(at, &http, route.rpc.is_some(), report);
    let protocols = by_action(at, route, protocols, report);
    let headers = |edits: &HeaderEdits| *edits != HeaderEdits::default();
    let keys = |edits: &KeyEdits| *edits != KeyEdits::default();
    let only_http = [
        ("request_headers", headers(&route.request_headers)),
        ("response_headers", headers(&route.response_headers)),
    ];
    let only_rpc = [
        ("request_keys", keys(&route.request_keys)),
        ("response_keys", keys(&route.response_keys)),
    ];
    let (needless, name): (&[_], _) = match protocols {
        Protocols::Http => (&only_rpc, "HTTP"),
        Protocols::Rpc => (&only_http, "RPC"),
        Protocols::All => (&[], ""),
    };
    for (key, _) in needless.iter().filter(|(_, stated)| *stated) {
        let message = format!("has no effect: the route takes {name} only");
        report.mend(&at.key(key), message, "take it out");
    }
    let slowed = route.fault.as_ref().and_then(|own| own.bandwidth.as_ref());
    if slowed.is_some() && protocols == Protocols::Rpc {
        let mend = "write delay or abort, or give HTTP a route of its own";
        let message = "is of HTTP, and the route takes RPC only: replies on shared connections \
                       can't be slowed down one by one";
        report.mend(&at.key("fault").key("bandwidth"), message, mend);
    }
    protocols
}

/// What the action leaves of the protocols: an answer, or a name of a service, for each of them.
fn by_action(
    at: &Path,
    route: &rules::Route,
    protocols: Protocols,
    report: &mut Report<'_>,
) -> Protocols {
    let (at, (for_http, http), (for_rpc, rpc)) = if let Some(own) = &route.respond {
        let rpc = own.exception.is_some() || own.biz_status.is_some();
        let http = ("status", own.status.is_some());
        (at.key("respond"), http, ("exception or biz_status", rpc))
    } else if let Some(own) = &route.service_by {
        let http = ("header", own.header.is_some());
        (at.key("service_by"), http, ("key", own.key.is_some()))
    } else {
        return protocols;
    };
    match (protocols, http, rpc) {
        (Protocols::All, true, true)
        | (Protocols::Http, true, false)
        | (Protocols::Rpc, false, true) => protocols,
        (Protocols::All, true, false) => Protocols::Http,
        (Protocols::All, false, true) => Protocols::Rpc,
        (Protocols::All, false, false) => {
            let mend = format!("add {for_http} for HTTP, {for_rpc} for RPC, or both");
            report.mend(&at, "is for no protocol", mend);
            protocols
        }
        (Protocols::Http, ..) => {
            let mend = format!("write {for_http}, and not {for_rpc}");
            report.mend(&at, "is not for HTTP, which the route takes", mend);
            protocols
        }
        (Protocols::Rpc, ..) => {
            let mend = format!("write {for_rpc}, and not {for_http}");
            report.mend(&at, "is not for RPC, which the route takes", mend);
            protocols
        }
    }
}

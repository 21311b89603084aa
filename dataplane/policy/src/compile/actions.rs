//! What becomes of a route's requests: where they go, what is changed, what is done beside.

use std::time::{Duration, UNIX_EPOCH};

use sluice_wire::http1::{Authority, FieldValue};

use super::headers::explain_template;
use super::known::Known;
use super::report::{MAX_PERIOD, Report};
use super::{matching, rpc};
use crate::action::{
    Abort, Action, Destination, Fault, HttpAnswer, Mirror, NewPath, Redirect, Respond, Rewrite,
    RpcAnswer,
};
use crate::rules::{self, Share};
use crate::snapshot::ServiceId;
use crate::template::{Place, Template};
use crate::yaml::Path;

/// Largest body of an answer of the rules, in bytes.
const MAX_BODY: usize = 16 << 10;
/// Largest weight.
const MAX_WEIGHT: u32 = 1_000_000;
/// Most services of one route.
const MAX_SERVICES: usize = 256;
/// Longest path in place of a request's own, in bytes.
const MAX_PATH: usize = 1024;

/// Bytes of the largest body that is copied.
const MIRROR_BODY: std::ops::RangeInclusive<u64> = 0..=1 << 20;
/// Bytes per second of a body that is slowed down.
const BANDWIDTH: std::ops::RangeInclusive<u64> = 64..=1 << 30;
/// How long a drill may hold a request: each holds a connection.
const MAX_DELAY: Duration = Duration::from_secs(60 * 60);

/// A route that is compiled.
pub(super) struct Part<'a> {
    pub(super) path: &'a Path,
    pub(super) route: &'a rules::Route,
    /// Names of the path's captures.
    pub(super) captures: &'a [Box<str>],
    /// It matches a prefix.
    pub(super) prefix: bool,
    pub(super) services: &'a Known<'a, rules::Service>,
}

impl Part<'_> {
    /// What becomes of a request; `None` if that is not to be told.
    pub(super) fn action(&self, report: &mut Report<'_>) -> Option<Action> {
        let route = self.route;
        let stated = [
            ("service", route.service.is_some()),
            ("split", route.split.is_some()),
            ("service_by", route.service_by.is_some()),
            ("respond", route.respond.is_some()),
            ("redirect", route.redirect.is_some()),
        ];
        let mut stated = stated.into_iter().filter(|(_, stated)| *stated);
        let Some((kind, _)) = stated.next() else {
            report.mend(self.path, "leads nowhere", "add `service`");
            return None;
        };
        for (other, _) in stated {
            let message = format!("stands beside `{kind}`");
            report.mend(&self.path.key(other), message, "keep one of them");
        }
        if route.sticky.is_some() && kind != "split" {
            let mend = "add `split`, or take it out";
            report.mend(
                &self.path.key("sticky"),
                "there is nothing to choose from",
                mend,
            );
        }
        let here = matches!(kind, "respond" | "redirect");
        let needless = [
            ("rewrite", route.rewrite.is_some()),
            ("mirror", route.mirror.is_some()),
            ("fault", route.fault.is_some()),
        ];
        for (key, _) in needless.iter().filter(|(_, stated)| here && *stated) {
            report.mend(
                &self.path.key(key),
                "has no effect: the gateway itself answers",
                "take it out",
            );
        }
        let at = self.path.key(kind);
        match kind {
            "service" => {
                let name = route.service.as_deref()?;
                let service = self.service(&at, name, report)?;
                Some(Action::Forward(Destination::One(service)))
            }
            "split" => self
                .split(&at, route.split.as_ref()?, report)
                .map(Action::Forward),
            "service_by" => self
                .by(&at, route.service_by.as_ref()?, report)
                .map(Action::Forward),
            "respond" => Some(Action::Respond(respond(
                &at,
                route.respond.as_ref()?,
                report,
            ))),
            _ => Some(Action::Redirect(self.redirect(
                &at,
                route.redirect.as_ref()?,
                report,
            ))),
        }
    }

    fn service(&self, at: &Path, name: &str, report: &mut Report<'_>) -> Option<ServiceId> {
        let (at, _) = self.services.find(at, name, report)?;
        Some(ServiceId(at))
    }

    fn split(&self, at: &Path, split: &[Share], report: &mut Report<'_>) -> Option<Destination> {
        let mut shares = Vec::with_capacity(split.len());
        let mut sum = 0_u32;
        if split.len() > MAX_SERVICES {
            report.wrong(at, format!("has more than {MAX_SERVICES} services"));
            return None;
        }
        for (index, share) in split.iter().enumerate() {
            let at = at.index(index);
            let weight = report.number(&at.key("weight"), share.weight, 0..=MAX_WEIGHT);
            sum = sum.saturating_add(weight);
            let service = self.service(&at.key("service"), &share.service, report);
            if let Some(service) = service
                && shares.iter().any(|(_, other)| *other == service)
            {
                let message = format!("\"{}\" is listed twice", share.service);
                report.mend(&at.key("service"), message, "keep one");
            }
            shares.extend(service.map(|service| (sum, service)));
        }
        if sum == 0 {
            let mend = "give at least one service a weight";
            report.mend(at, "the weights add up to 0", mend);
        }
        let sticky = self.route.sticky.as_ref();
        let sticky = sticky.map(|key| matching::key(&self.path.key("sticky"), key, report));
        Some(Destination::Split {
            shares: shares.into(),
            sticky,
        })
    }

    fn by(&self, at: &Path, by: &rules::ServiceBy, report: &mut Report<'_>) -> Option<Destination> {
        let header = by
            .header
            .as_deref()
            .map(|name| matching::header_name(&at.key("header"), name, report, false));
        let key = by.key.as_deref();
        let key = key.and_then(|name| rpc::key(&at.key("key"), name, report));
        let list = at.key("allowed");
        if by.allowed.is_empty() {
            report.mend(&list, "allows no service", "list those that may be named");
        } else if by.allowed.len() > MAX_SERVICES {
            report.wrong(&list, format!("has more than {MAX_SERVICES} services"));
        }
        let mut allowed = Vec::new();
        for (index, name) in by.allowed.iter().enumerate() {
            let service = self.service(&list.index(index), name, report);
            allowed.extend(service.map(|service| (name.as_bytes().into(), service)));
        }
        let otherwise = match &by.otherwise {
            Some(name) => Some(self.service(&at.key("otherwise"), name, report)?),
            None => None,
        };
        Some(Destination::By {
            header,
            key,
            allowed: allowed.into(),
            otherwise,
        })
    }

    fn redirect(&self, at: &Path, own: &rules::Redirect, report: &mut Report<'_>) -> Redirect {
        if !matches!(own.status, 301 | 302 | 303 | 307 | 308) {
            let message = format!("{} is no status of a redirect", own.status);
            report.mend(
                &at.key("status"),
                message,
                "write 301, 302, 303, 307 or 308",
            );
        }
        if let Some(scheme) = &own.scheme
            && !matches!(scheme.as_str(), "http" | "https")
        {
            let message = format!("{scheme:?} is no scheme here");
            report.mend(&at.key("scheme"), message, "write http or https");
        }
        let path = self.new_path(at, own.path.as_deref(), own.prefix.as_deref(), report);
        let changed = own.scheme.is_some() || own.host.is_some() || path.is_some();
        if !changed {
            let mend = "add scheme, host, path or prefix";
            report.mend(at, "leads to where the request was made", mend);
        }
        Redirect {
            status: own.status,
            scheme: own.scheme.as_deref().map(Into::into),
            host: authority(&at.key("host"), own.host.as_deref(), report),
            path,
            strip_query: own.strip_query,
        }
    }

    /// What the service gets to see.
    pub(super) fn rewrite(&self, report: &mut Report<'_>) -> Option<Rewrite> {
        let own = self.route.rewrite.as_ref()?;
        let at = self.path.key("rewrite");
        if own.path.is_none() && own.prefix.is_none() && own.host.is_none() {
            report.mend(&at, "changes nothing", "add path, prefix or host");
        }
        Some(Rewrite {
            path: self.new_path(&at, own.path.as_deref(), own.prefix.as_deref(), report),
            host: authority(&at.key("host"), own.host.as_deref(), report),
        })
    }

    fn new_path(
        &self,
        at: &Path,
        path: Option<&str>,
        prefix: Option<&str>,
        report: &mut Report<'_>,
    ) -> Option<NewPath> {
        if path.is_some() && prefix.is_some() {
            report.mend(
                &at.key("prefix"),
                "stands beside `path`",
                "keep one of them",
            );
        }
        if let Some(text) = path {
            let at = at.key("path");
            return match Template::parse(text, Place::Path(self.captures)) {
                Ok(template) => {
                    check_new_path(&at, text, report);
                    Some(NewPath::Whole {
                        path: template,
                        with_query: text.contains('?'),
                    })
                }
                Err(error) => {
                    let (message, mend) = explain_template(error);
                    report.suggest(&at, message, mend);
                    None
                }
            };
        }
        let text = prefix?;
        let at = at.key("prefix");
        if !self.prefix {
            let mend = "write `path`, or match a prefix";
            report.mend(&at, "the route does not match a prefix", mend);
        }
        let prefix = matching::prefix(&at, text, report)?;
        let prefix = prefix.strip_suffix('/').unwrap_or(&prefix);
        Some(NewPath::Prefix(prefix.into()))
    }

    /// Who gets copies.
    pub(super) fn mirror(&self, report: &mut Report<'_>) -> Option<Mirror> {
        let own = self.route.mirror.as_ref()?;
        let at = self.path.key("mirror").key("service");
        let (service, rules) = self.services.find(&at, &own.service, report)?;
        if rules.proxy_protocol.is_some() {
            let message = "wants a PROXY header, and copies have none";
            report.mend(&at, message, "name a service without proxy_protocol");
        }
        Some(Mirror {
            service: ServiceId(service),
            share: own.share.per_million(),
            body: report.size(&self.path.key("mirror").key("body"), own.body, MIRROR_BODY) as usize,
        })
    }

    /// Faults for a drill.
    pub(super) fn fault(&self, report: &mut Report<'_>) -> Option<Fault> {
        let own = self.route.fault.as_ref()?;
        let at = self.path.key("fault");
        if own.delay.is_none() && own.bandwidth.is_none() && own.abort.is_none() {
            report.mend(&at, "does nothing", "add delay, bandwidth or abort");
        }
        let bandwidth = own.bandwidth.as_ref().map(|own| {
            let rate = report.size(&at.key("bandwidth").key("rate"), own.rate, BANDWIDTH);
            (rate, own.share.per_million())
        });
        let delay = own.delay.as_ref().map(|delay| {
            let at = at.key("delay").key("time");
            let time = report.period(&at, delay.time);
            // What is beyond the longest of all has been told.
            if time > MAX_DELAY && time <= MAX_PERIOD {
                report.refuse(&at, format!("{} is longer than 1h", delay.time), None);
            }
            (time, delay.share.per_million())
        });
        let abort = own.abort.as_ref().map(|abort| {
            let at = at.key("abort");
            if let Some(status) = abort.status
                && !(400..=599).contains(&status)
            {
                let message = format!("{status} is outside 400 to 599");
                report.refuse(&at.key("status"), message, None);
            }
            let (exception, biz_status) = (abort.exception.as_ref(), abort.biz_status.as_ref());
            let rpc = rpc::answer(&at, exception, biz_status, report);
            Abort {
                status: abort.status,
                rpc: rpc.or_else(|| abort.status.map(RpcAnswer::fault)),
                share: abort.share.per_million(),
            }
        });
        let until = humantime::parse_rfc3339(&own.until)
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        if until.is_none() {
            let message = format!("{:?} is no time", own.until);
            let mend = "write one in UTC, such as 2026-12-24T18:00:00Z".to_owned();
            report.refuse(&at.key("until"), message, mend);
        }
        Some(Fault {
            delay,
            bandwidth,
            abort,
            until: until?.as_secs(),
        })
    }
}

fn respond(at: &Path, own: &rules::Respond, report: &mut Report<'_>) -> Respond {
    let (exception, biz_status) = (own.exception.as_ref(), own.biz_status.as_ref());
    let rpc = rpc::answer(at, exception, biz_status, report);
    let http = match own.status {
        Some(status) => Some(http_answer(at, status, own, report)),
        None => {
            if !own.body.is_empty() {
                let mend = "add status, or write a message";
                report.mend(&at.key("body"), "is for HTTP, and there is no status", mend);
            }
            None
        }
    };
    Respond { http, rpc }
}

fn http_answer(
    at: &Path,
    status: u16,
    own: &rules::Respond,
    report: &mut Report<'_>,
) -> HttpAnswer {
    if !(200..=599).contains(&status) {
        let message = format!("{status} is outside 200 to 599");
        report.refuse(&at.key("status"), message, None);
    }
    if own.body.len() > MAX_BODY {
        report.wrong(&at.key("body"), "is longer than 16KiB");
    }
    if matches!(status, 204 | 205 | 304) && !own.body.is_empty() {
        let message = format!("{status} has no body");
        report.mend(&at.key("body"), message, "take it out");
    }
    let kind = own.content_type.as_bytes();
    if kind.is_empty() || kind.len() > 128 || FieldValue::new(kind).is_err() {
        let mend = "write one such as application/json";
        report.mend(&at.key("content_type"), "is no media type", mend);
    }
    HttpAnswer {
        status,
        body: own.body.as_bytes().into(),
        content_type: kind.into(),
    }
}

fn authority(at: &Path, host: Option<&str>, report: &mut Report<'_>) -> Option<Box<str>> {
    let host = host?;
    if Authority::parse(host.as_bytes()).is_none() {
        let mend = "write a name or an address, with a port or without".to_owned();
        report.refuse(at, format!("{host:?} is no host"), mend);
    }
    Some(host.into())
}

/// What stands between variables has to be made of the characters of a path.
fn check_new_path(at: &Path, text: &str, report: &mut Report<'_>) {
    let legal = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'#' | b'<' | b'>' | b'\\');
    if text.len() > MAX_PATH {
        report.wrong(at, format!("is longer than {MAX_PATH} bytes"));
    } else if !text.starts_with('/') && !text.starts_with("${path}") {
        report.mend(at, "does not begin with /", format!("write \"/{text}\""));
    } else if !text.bytes().all(legal) {
        let mend = "write it as it stands in a request: other characters as %20";
        report.mend(at, format!("{text:?} is no path"), mend);
    } else if text.starts_with("//") {
        report.wrong(at, "begins with //, which some take for a host");
    } else if has_dot_segment(text) {
        report.wrong(at, format!("{text:?} has a `.` or `..` segment"));
    }
}

/// Whether the path of a new target has a segment for which every request would be refused.
fn has_dot_segment(text: &str) -> bool {
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

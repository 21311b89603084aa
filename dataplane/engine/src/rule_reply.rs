//! Answers that routes give in a service's place: direct responses and redirects.

use sluice_policy::action::{Action, Captures, Computed, Respond, captures};
use sluice_policy::{Route, Values};
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::http1::{FieldEdits, FieldValue, Headers, RuleReply, write_rule_reply};

use crate::body::Made;
use crate::chain::HttpPassage;
use crate::downstream::Step;
use crate::ended::Notes;
use crate::explained::By;
use crate::forwarding::{Provenance, computed};
use crate::reply::{LocalReply, ReplyForm};
use crate::stats::RequestFate;
use crate::worker::Worker;

/// What an answer of a route depends on.
pub(crate) struct Asked<'a> {
    pub(crate) passage: &'a HttpPassage<'a, 'a>,
    pub(crate) route: &'a Route,
    pub(crate) provenance: &'a Provenance,
    pub(crate) form: ReplyForm,
    pub(crate) date: Option<FieldValue<'a>>,
}

impl Asked<'_> {
    /// Writes the answer into `out`; gives its status and the request's fate.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        made: &mut Made,
    ) -> Result<(u16, RequestFate), LocalReply> {
        let route = self.route;
        let stood_for = captures(route, &self.passage.view);
        let id = self.provenance.id();
        let none = Captures::new();
        let values = |status, captures| Values {
            client: self.provenance.client,
            lane: self.passage.rules.lane_name(self.passage.view.lane),
            request_id: id.as_bytes(),
            route: &route.name,
            service: "",
            status,
            request: Some((&self.passage.view, captures)),
        };
        let edits = &route.response_headers;
        let Made { text, target } = made;
        out.clear();
        target.clear();
        let (status, fate) = match &route.action {
            Action::Respond(own) => match &own.http {
                Some(own) => (own.status, RequestFate::Responded),
                // A route without an answer to HTTP takes no such request.
                None => return Err(LocalReply::NO_ROUTE),
            },
            Action::Redirect(own) => {
                let values = values(own.status, &stood_for);
                let authority = self.passage.request.host();
                own.write_location(&route.matches.path, &values, authority, target);
                (own.status, RequestFate::Redirected)
            }
            Action::Forward(_) => return Err(LocalReply::NO_ROUTE),
        };
        let mut fields = Computed::new();
        if !edits.computed.is_empty() {
            let received = Headers::default();
            let values = values(status, &none);
            computed(&edits.computed, &values, &received, text, &mut fields)?;
        }
        let (body, location) = match &route.action {
            Action::Respond(Respond {
                http: Some(own), ..
            }) => {
                let kind = FieldValue::new(&own.content_type).ok();
                let body = (!own.body.is_empty()).then_some(&*own.body);
                (kind.zip(body), None)
            }
            _ => {
                let location = FieldValue::new(target);
                (
                    None,
                    Some(location.map_err(|_| LocalReply::REWRITTEN_TOO_LARGE)?),
                )
            }
        };
        let reply = RuleReply {
            status,
            body,
            location,
            fields: FieldEdits {
                rules: &edits.fixed,
                computed: &fields,
                ..FieldEdits::default()
            },
        };
        let form = self.form;
        write_rule_reply(
            out,
            &reply,
            form.head_only,
            !form.keep,
            form.version,
            self.date,
        );
        Ok((status, fate))
    }
}

impl<P: PacketIo> Worker<P> {
    /// Gives the answer that stands in the scratch buffer. The request's head must have been consumed.
    pub(crate) fn send_rule_reply(
        &mut self,
        number: u32,
        (status, fate): (u16, RequestFate),
        keep: bool,
        mut notes: Notes,
        now: Instant,
    ) -> Step {
        if notes.explain.is_some() {
            self.tell(&notes, By::Here(status, fate));
        }
        notes.bytes_out += self.spare.out.len() as u64;
        self.request_ended(notes, fate, status, now);
        self.send_to_client(number);
        self.replied(number, keep, now)
    }
}

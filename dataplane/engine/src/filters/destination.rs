//! Which service a request goes to, or that it is answered here.

use sluice_policy::action::Action;

use crate::chain::{Answer, Passage};
use crate::reply::LocalReply;

#[inline]
pub(crate) fn filter<R>(passage: &mut Passage<'_, '_, R>) -> Answer {
    match passage.route.map(|route| &route.action) {
        Some(Action::Forward(destination)) => {
            passage.service = destination.choose(&passage.view);
            match passage.service {
                Some(_) => Answer::Continue,
                None => Answer::Reply(LocalReply::NO_SERVICE),
            }
        }
        Some(Action::Respond(_) | Action::Redirect(_)) => Answer::RuleReply,
        None => Answer::Reply(LocalReply::NO_ROUTE),
    }
}

//! Finds the route.

use crate::chain::{Answer, Passage};
use crate::reply::LocalReply;

#[inline]
pub(crate) fn filter<R>(passage: &mut Passage<'_, '_, R>) -> Answer {
    passage.route = passage.rules.route(&passage.view);
    match passage.route {
        Some(_) => Answer::Continue,
        None => Answer::Reply(LocalReply::NO_ROUTE),
    }
}

//! How large a request's body may be.

use sluice_wire::http1::BodyFraming;

use crate::chain::{Answer, HttpPassage};
use crate::reply::LocalReply;

#[inline]
pub(crate) fn filter(passage: &mut HttpPassage<'_, '_>) -> Answer {
    let own = passage.route.and_then(|route| route.max_body);
    passage.most = own.unwrap_or(passage.listener.max_body);
    let framing = passage.request.framing;
    if matches!(framing, BodyFraming::Length(length) if length > passage.most) {
        return Answer::Reply(LocalReply::BODY_TOO_LARGE);
    }
    Answer::Continue
}

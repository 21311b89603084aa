//! Answers OPTIONS requests that may go no further (RFC 9110 section 7.6.2).

use crate::chain::{Answer, HttpPassage};
use crate::forwarding::max_forwards;
use crate::reply::LocalReply;

#[inline]
pub(crate) fn filter(passage: &mut HttpPassage<'_, '_>) -> Answer {
    if max_forwards(passage.request) == Some(0) {
        return Answer::Reply(LocalReply::LAST_HOP);
    }
    Answer::Continue
}

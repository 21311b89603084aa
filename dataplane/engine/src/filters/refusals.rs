//! What no route could serve: methods, expectations and hosts that are not for this gateway.

use sluice_wire::http1::MethodKind;

use crate::chain::{Answer, HttpPassage};
use crate::reply::LocalReply;

#[inline]
pub(crate) fn filter(passage: &mut HttpPassage<'_, '_>) -> Answer {
    let request = passage.request;
    if request.method_kind() == MethodKind::Trace {
        return Answer::Reply(LocalReply::TRACE);
    }
    if request.expect_other {
        return Answer::Reply(LocalReply::EXPECTATION);
    }
    if !passage.listener.takes(request.host_name()) {
        return Answer::Reply(LocalReply::MISDIRECTED);
    }
    // RFC 9110 section 7.4: only whom a trusted proxy's TLS vouches for may ask for that.
    if request.is_for_https() && !passage.trusted {
        return Answer::Reply(LocalReply::INSECURE);
    }
    Answer::Continue
}

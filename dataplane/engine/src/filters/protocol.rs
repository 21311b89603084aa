//! HTTP requests go to services that can speak HTTP.

use sluice_policy::rules::ServiceProtocol;

use crate::chain::{Answer, HttpPassage};
use crate::reply::LocalReply;

#[inline]
pub(crate) fn filter(passage: &mut HttpPassage<'_, '_>) -> Answer {
    let service = passage.service.and_then(|id| passage.rules.service(id));
    match service.map(|service| service.protocol) {
        Some(ServiceProtocol::TtHeader | ServiceProtocol::Thrift) => {
            Answer::Reply(LocalReply::NOT_HTTP)
        }
        _ => Answer::Continue,
    }
}

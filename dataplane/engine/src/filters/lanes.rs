//! Lanes: tags a request, for the routes that ask for it and the service that has endpoints in it.

use crate::chain::{Answer, Passage};

#[inline]
pub(crate) fn filter<R>(passage: &mut Passage<'_, '_, R>) -> Answer {
    if let Some(lanes) = &passage.rules.lanes {
        passage.view.lane = lanes.lane_of(&passage.view, passage.trusted);
    }
    Answer::Continue
}

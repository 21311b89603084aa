//! Faults for a drill, until it is over. Where the time is not known there is no drill.

use std::time::Duration;

use sluice_policy::action::Fault;

use crate::chain::{Answer, CallPassage, HttpPassage, Passage, Slow};
use crate::reply::LocalReply;
use crate::stats::RequestFate;

/// Holds some requests.
#[inline]
pub(crate) fn delay<R>(passage: &mut Passage<'_, '_, R>) -> Answer {
    let delay = under_way(passage).and_then(|fault| fault.delay(passage.view.draw));
    delay.map_or(Answer::Continue, Answer::Wait)
}

/// Has the bodies of some go on slowly.
#[inline]
pub(crate) fn bandwidth(passage: &mut HttpPassage<'_, '_>) -> Answer {
    if let Some(fault) = under_way(passage)
        && let Some(rate) = fault.bandwidth(passage.view.draw)
    {
        let left = fault.until.saturating_sub(passage.wall.unwrap_or(0));
        passage.slow = Some(Slow {
            rate,
            lasts: Duration::from_secs(left),
        });
    }
    Answer::Continue
}

/// Does not send some on.
#[inline]
pub(crate) fn abort(passage: &mut HttpPassage<'_, '_>) -> Answer {
    let abort = under_way(passage).and_then(|fault| fault.abort(passage.view.draw));
    match abort {
        None => Answer::Continue,
        Some(abort) => match abort.status {
            Some(status) => Answer::Reply(LocalReply::fault(status)),
            None => Answer::Close(RequestFate::Fault),
        },
    }
}

/// Does not send some calls on.
#[inline]
pub(crate) fn abort_call(passage: &mut CallPassage<'_, '_>) -> Answer {
    let abort = under_way(passage).and_then(|fault| fault.abort(passage.view.draw));
    match abort {
        None => Answer::Continue,
        Some(abort) if abort.rpc.is_some() => Answer::Fault,
        Some(_) => Answer::Close(RequestFate::Fault),
    }
}

#[inline]
fn under_way<'a, R>(passage: &Passage<'a, '_, R>) -> Option<&'a Fault> {
    let fault = passage.route?.fault.as_ref()?;
    (passage.wall? < fault.until).then_some(fault)
}

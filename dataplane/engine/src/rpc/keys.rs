//! What the rules change of a call's keys and of its reply's.

use arrayvec::ArrayVec;
use sluice_policy::action::{KeyEdit, KeyEdits};
use sluice_policy::{Lanes, RequestView, RpcKey, RpcView, Values};
use sluice_wire::ttheader::{Edit, Head, MAX_WRITTEN, NewHead};

/// Most changes of one head: those of a route, that of the lane, and our own.
const MOST: usize = 40;

/// Changes to the keys of one head.
pub(super) type Changes<'e> = ArrayVec<Edit<'e>, MOST>;

/// The values would be longer than a head can be.
#[derive(Debug, Clone, Copy)]
pub(super) struct TooLarge;

/// Adds what a route's rules change of a head; `text` is where the values stand.
pub(super) fn by_route<'e>(
    changes: &mut Changes<'e>,
    edits: &'e KeyEdits,
    values: &Values<'_>,
    head: Option<&Head<'_>>,
    text: &'e mut Vec<u8>,
) -> Result<(), TooLarge> {
    text.clear();
    let has = |key: &RpcKey| key.value(&RpcView { head, method: b"" }).is_some();
    let mut ends = ArrayVec::<usize, MOST>::new();
    for edit in &edits.0 {
        if let KeyEdit::Set(_, value) | KeyEdit::Add(_, value) = edit {
            value.render(values, text);
        }
        if text.len() > MAX_WRITTEN || ends.try_push(text.len()).is_err() {
            return Err(TooLarge);
        }
    }
    let mut start = 0;
    for (edit, end) in edits.0.iter().zip(ends) {
        let value = text.get(start..end).unwrap_or_default();
        start = end;
        let change = match edit {
            KeyEdit::Add(key, _) if has(key) => continue,
            KeyEdit::Set(key, _) | KeyEdit::Add(key, _) => set(key, value),
            KeyEdit::Remove(key) => remove(key),
            KeyEdit::RemovePrefix(prefix) => Edit::RemovePrefix(prefix),
        };
        changes.try_push(change).map_err(|_| TooLarge)?;
    }
    Ok(())
}

/// Adds how the lane of a call travels on.
pub(super) fn by_lanes<'e>(
    changes: &mut Changes<'e>,
    lanes: &'e Lanes,
    view: &RequestView<'e>,
    trusted: bool,
) {
    let own = view.lane.and_then(|lane| lanes.name(lane));
    let received = lanes.received(view);
    // One that nothing here knows may mean something to those behind.
    let unknown = || {
        let received = received.filter(|_| trusted)?;
        lanes.find(received).is_none().then_some(received)
    };
    let change = match own.map(str::as_bytes).or_else(unknown) {
        Some(lane) if received == Some(lane) => return,
        Some(lane) => set(&lanes.key, lane),
        None if received.is_none() => return,
        None => remove(&lanes.key),
    };
    let _ = changes.try_push(change);
}

fn set<'e>(key: &'e RpcKey, value: &'e [u8]) -> Edit<'e> {
    match key {
        RpcKey::Integer(number) => Edit::SetInteger(*number, value),
        RpcKey::String(name) => Edit::SetString(name, value),
    }
}

fn remove(key: &RpcKey) -> Edit<'_> {
    match key {
        RpcKey::Integer(number) => Edit::RemoveInteger(*number),
        RpcKey::String(name) => Edit::RemoveString(name),
    }
}

/// Keys of a head that is made here.
#[derive(Default)]
pub(super) struct NewKeys<'e> {
    strings: ArrayVec<(&'e [u8], &'e [u8]), MOST>,
    integers: ArrayVec<(u16, &'e [u8]), MOST>,
}

impl<'e> NewKeys<'e> {
    /// These, as `changes` change them.
    pub(super) fn of(integers: &[(u16, &'e [u8])], changes: &Changes<'e>) -> Self {
        let mut keys = NewKeys::default();
        for (key, value) in integers {
            let _ = keys.integers.try_push((*key, value));
        }
        for change in changes {
            match *change {
                Edit::SetInteger(key, value) => {
                    keys.integers.retain(|(own, _)| *own != key);
                    let _ = keys.integers.try_push((key, value));
                }
                Edit::SetString(key, value) => {
                    keys.strings.retain(|(own, _)| *own != key);
                    let _ = keys.strings.try_push((key, value));
                }
                Edit::RemoveInteger(key) => keys.integers.retain(|(own, _)| *own != key),
                Edit::RemoveString(key) => keys.strings.retain(|(own, _)| *own != key),
                Edit::RemovePrefix(prefix) => {
                    keys.strings.retain(|(own, _)| !own.starts_with(prefix));
                }
            }
        }
        keys
    }

    /// A head with these keys.
    pub(super) fn head(&self) -> NewHead<'_> {
        NewHead {
            strings: &self.strings,
            integers: &self.integers,
            ..NewHead::default()
        }
    }
}

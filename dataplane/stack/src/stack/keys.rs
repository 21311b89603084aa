//! Which place of the flow table a connection has. An entry is four bytes and a tag: the key itself is
//! in the flow, which is needed next anyhow, so that the table of 100,000 flows is a megabyte.

use hashbrown::HashTable;

use super::Slot;
use crate::key::FlowKey;

pub(super) struct Keys {
    places: HashTable<u32>,
    hasher: ahash::RandomState,
}

impl Keys {
    /// With room for so many flows: it never grows.
    pub(super) fn new(flows: usize, hasher: ahash::RandomState) -> Self {
        Keys {
            places: HashTable::with_capacity(flows),
            hasher,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    #[inline]
    pub(super) fn find(&self, slots: &[Slot], key: &FlowKey) -> Option<u32> {
        let has_key = |&place: &u32| key_of(slots, place) == Some(key);
        self.places
            .find(self.hasher.hash_one(key), has_key)
            .copied()
    }

    /// The flow with this key is at `place` from now on. There must be none with it yet.
    pub(super) fn insert(&mut self, slots: &[Slot], key: &FlowKey, place: u32) {
        let hasher = &self.hasher;
        let hash = |&place: &u32| key_of(slots, place).map_or(0, |key| hasher.hash_one(key));
        self.places.insert_unique(hasher.hash_one(key), place, hash);
    }

    pub(super) fn remove(&mut self, key: &FlowKey, place: u32) {
        let entry = self
            .places
            .find_entry(self.hasher.hash_one(key), |&other| other == place);
        if let Ok(entry) = entry {
            entry.remove();
        }
    }
}

#[inline]
fn key_of(slots: &[Slot], place: u32) -> Option<&FlowKey> {
    Some(&slots.get(place as usize)?.flow.as_ref()?.key)
}

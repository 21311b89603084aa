//! A ring of bytes that holds no memory while it is empty and grows with what is in it.

use super::pool::Pool;

/// Bytes in order: written at the end, taken from the front. Behind the end there may be more, put
/// there ahead of time ([`Ring::write_ahead`]).
#[derive(Default)]
pub(crate) struct Ring {
    store: Box<[u8]>,
    head: u32,
    len: u32,
}

impl Ring {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory held.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.store.len()
    }

    /// Up to `len` bytes from `offset` on, in two pieces where they straddle the end of the memory.
    #[inline]
    pub(crate) fn slices(&self, offset: usize, len: usize) -> (&[u8], &[u8]) {
        let offset = offset.min(self.len());
        let len = len.min(self.len() - offset);
        let start = self.place(offset);
        let first = len.min(self.store.len() - start);
        (
            &self.store[start..start + first],
            &self.store[..len - first],
        )
    }

    /// Where the byte at `offset` is.
    #[inline]
    fn place(&self, offset: usize) -> usize {
        let place = self.head as usize + offset;
        if place >= self.store.len() {
            place.saturating_sub(self.store.len())
        } else {
            place
        }
    }

    /// Puts bytes at the end; the memory grows where it must.
    #[inline]
    pub(crate) fn append(&mut self, bytes: &[u8], pool: &mut Pool) {
        self.write_ahead(0, bytes, pool);
        self.len += bytes.len() as u32;
    }

    /// Puts bytes `gap` bytes behind the end, without counting them in.
    #[inline]
    pub(crate) fn write_ahead(&mut self, gap: usize, bytes: &[u8], pool: &mut Pool) {
        let offset = self.len() + gap;
        if offset + bytes.len() > self.store.len() {
            if self.store.is_empty() {
                self.store = pool.take(offset + bytes.len());
            } else {
                self.grow(offset + bytes.len(), pool);
            }
        }
        let start = self.place(offset);
        let first = bytes.len().min(self.store.len() - start);
        self.store[start..start + first].copy_from_slice(&bytes[..first]);
        if first != bytes.len() {
            self.store[..bytes.len() - first].copy_from_slice(&bytes[first..]);
        }
    }

    /// Counts in what was put there ahead of time.
    #[inline]
    pub(crate) fn extend(&mut self, len: usize) {
        self.len += len as u32;
    }

    #[cold]
    fn grow(&mut self, bytes: usize, pool: &mut Pool) {
        let mut larger = pool.take(bytes);
        let (back, front) = self.store.split_at(self.head as usize);
        larger[..front.len()].copy_from_slice(front);
        larger[front.len()..self.store.len()].copy_from_slice(back);
        pool.give(std::mem::replace(&mut self.store, larger));
        self.head = 0;
    }

    /// Forgets up to `len` bytes at the front; returns how many.
    #[inline]
    pub(crate) fn consume(&mut self, len: usize) -> usize {
        let len = len.min(self.len());
        self.head = self.place(len) as u32;
        self.len -= len as u32;
        len
    }

    /// Gives the memory back. What was put there ahead of time is lost with it.
    #[inline]
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        pool.give(std::mem::take(&mut self.store));
        (self.head, self.len) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_ring_is_total() {
        let mut ring = Ring::default();
        assert_eq!(ring.slices(0, 10), (&[][..], &[][..]));
        assert_eq!(ring.slices(5, 10), (&[][..], &[][..]));
        assert_eq!(ring.consume(9), 0);
        ring.append(&[], &mut Pool::default());
        assert_eq!((ring.len(), ring.held()), (0, 0));
    }

    #[test]
    fn what_is_ahead_survives_growth_and_is_there_when_its_time_comes() {
        let (mut ring, mut pool) = (Ring::default(), Pool::default());
        ring.append(&[1; 4000], &mut pool);
        ring.consume(3900);
        // Straddles the end of the 4,096 bytes.
        ring.write_ahead(200, &[3; 300], &mut pool);
        assert_eq!(ring.held(), 4096);
        ring.write_ahead(500, &[4; 6000], &mut pool);
        assert_eq!(ring.held(), 8192);
        ring.append(&[2; 200], &mut pool);
        ring.extend(300 + 6000);
        let (a, b) = ring.slices(0, 10_000);
        let all = [a, b].concat();
        let expected = [vec![1; 100], vec![2; 200], vec![3; 300], vec![4; 6000]].concat();
        assert!(all == expected);
        ring.release(&mut pool);
        assert_eq!((ring.len(), ring.held()), (0, 0));
    }

    proptest::proptest! {
        /// Against a plain queue.
        #[test]
        fn agrees_with_a_queue(steps in proptest::collection::vec((0usize..6000, 0usize..6000), 1..60)) {
            let (mut ring, mut pool) = (Ring::default(), Pool::default());
            let mut model = std::collections::VecDeque::new();
            let mut next = 0u8;
            for (add, take) in steps {
                let bytes: Vec<u8> = (0..add).map(|_| { next = next.wrapping_add(1); next }).collect();
                ring.append(&bytes, &mut pool);
                model.extend(bytes);
                let took = ring.consume(take);
                proptest::prop_assert_eq!(took, model.drain(..take.min(model.len())).count());
                let offset = take.min(ring.len());
                let (a, b) = ring.slices(offset, 777);
                let expected: Vec<u8> = model.iter().skip(offset).take(777).copied().collect();
                proptest::prop_assert_eq!([a, b].concat(), expected);
                if ring.is_empty() {
                    ring.release(&mut pool);
                }
            }
        }
    }
}

//! The buffers of one worker's flows. A flow holds one only while bytes are in it, and the one given
//! back last is the next to be used: the memory that is touched is that of the requests under way,
//! however many connections are open, and it stays in the processor's caches.

use std::collections::VecDeque;

use super::scoreboard::Sent;

/// The smallest buffer.
const SMALLEST: usize = 4096;
/// Sizes that are kept: 4 KiB, doubled up to 4 MiB.
const CLASSES: usize = 11;
/// Bytes kept for later at most; what is given back beyond goes to the allocator.
const KEPT: usize = 64 << 20;
/// Queues of sent segments kept at most, and the longest of them.
const QUEUES: usize = 4096;
const QUEUE_LENGTH: usize = 256;

/// Buffers that no flow holds now.
#[derive(Default)]
pub(crate) struct Pool {
    classes: [Vec<Box<[u8]>>; CLASSES],
    kept: usize,
    queues: Vec<VecDeque<Sent>>,
}

impl Pool {
    /// A buffer of at least so many bytes.
    #[inline]
    pub(crate) fn take(&mut self, bytes: usize) -> Box<[u8]> {
        if bytes <= SMALLEST
            && let Some(found) = self.classes[0].pop()
        {
            self.kept -= SMALLEST;
            return found;
        }
        self.take_larger(bytes)
    }

    fn take_larger(&mut self, bytes: usize) -> Box<[u8]> {
        let size = bytes.next_power_of_two().max(SMALLEST);
        if let Some(found) = self.class(size).and_then(Vec::pop) {
            self.kept -= size;
            return found;
        }
        vec![0; size].into_boxed_slice()
    }

    /// Takes a buffer back.
    #[inline]
    pub(crate) fn give(&mut self, buffer: Box<[u8]>) {
        let size = buffer.len();
        if size == 0 || self.kept + size > KEPT {
            return;
        }
        if let Some(class) = self.class(size) {
            class.push(buffer);
            self.kept += size;
        }
    }

    #[inline]
    fn class(&mut self, size: usize) -> Option<&mut Vec<Box<[u8]>>> {
        let class = size
            .trailing_zeros()
            .checked_sub(SMALLEST.trailing_zeros())?;
        self.classes.get_mut(class as usize)
    }

    /// An empty queue.
    #[inline]
    pub(crate) fn take_queue(&mut self) -> VecDeque<Sent> {
        self.queues
            .pop()
            .unwrap_or_else(|| VecDeque::with_capacity(16))
    }

    /// Takes an empty queue back.
    #[inline]
    pub(crate) fn give_queue(&mut self, queue: VecDeque<Sent>) {
        if self.queues.len() < QUEUES && queue.capacity() <= QUEUE_LENGTH {
            self.queues.push(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_given_back_last_is_the_next_one() {
        let mut pool = Pool::default();
        let (a, b) = (pool.take(1), pool.take(4096));
        assert_eq!((a.len(), b.len()), (4096, 4096));
        let place = b.as_ptr();
        pool.give(a);
        pool.give(b);
        let again = pool.take(100);
        assert_eq!(again.as_ptr(), place);
        assert_eq!(pool.take(5000).len(), 8192);
        assert_eq!(pool.kept, 4096);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pool = Pool::default();
        for _ in 0..40 {
            pool.give(vec![0; 4 << 20].into_boxed_slice());
        }
        assert_eq!(pool.kept, KEPT);
        pool.give(vec![0; 8 << 20].into_boxed_slice());
        pool.give(vec![0; 1000].into_boxed_slice());
        assert_eq!(pool.kept, KEPT, "sizes that are not kept");
    }
}

//! The buffers of one worker's flows. A flow holds one only while bytes are in it, and the one given
//! back last is the next to be used: the memory that is touched is that of the requests under way,
//! however many connections are open, and it stays in the processor's caches.

use std::collections::VecDeque;
use std::time::Duration;

use super::scoreboard::Sent;
use crate::time::Instant;

pub(crate) const RING_SMALLEST: usize = SMALLEST;
/// Bytes kept for later at most, queues included.
pub(crate) const MOST_KEPT: u64 = (KEPT + QUEUES * QUEUE_LENGTH * size_of::<Sent>()) as u64;
/// The smallest buffer: a request's or an answer's head fits in most cases.
const SMALLEST: usize = 1024;
/// Sizes that are kept: 1 KiB, doubled up to 4 MiB.
const CLASSES: usize = 13;
/// Bytes kept for later at most; what is given back beyond goes to the allocator.
const KEPT: usize = 64 << 20;
/// Queues of sent segments kept at most, and the longest of them.
const QUEUES: usize = 4096;
const QUEUE_LENGTH: usize = 256;
/// Room of a new one.
const QUEUE_START: usize = 8;
/// How often what was not needed is given to the allocator, and how many buffers of a size at once.
const TRIM_EVERY: Duration = Duration::from_secs(1);
const TRIM_MOST: usize = 256;

/// Buffers that no flow holds now, and what flows hold beyond their own.
#[derive(Default)]
pub(crate) struct Pool {
    /// Bytes that flows hold in windows that have grown, and the most there may be.
    grown: usize,
    growable: usize,
    classes: [Class; CLASSES],
    kept: usize,
    /// Buffers that flows have.
    lent: u64,
    queues: Vec<VecDeque<Sent>>,
    /// The fewest queues that were here since the last trim.
    idle_queues: usize,
    trim_at: Instant,
}

/// Buffers of one size.
#[derive(Default)]
struct Class {
    buffers: Vec<Box<[u8]>>,
    /// The fewest that were here since the last trim: nobody needed them.
    idle: usize,
}

impl Class {
    #[inline]
    fn pop(&mut self) -> Option<Box<[u8]>> {
        let buffer = self.buffers.pop();
        self.idle = self.idle.min(self.buffers.len());
        buffer
    }
}

impl Pool {
    /// One from which flows may hold so many bytes together beyond the buffers they begin with.
    pub(crate) fn growing_by(bytes: usize) -> Self {
        Pool {
            growable: bytes,
            ..Pool::default()
        }
    }

    /// A ring that begins with room for `base` bytes is to have room for `to` instead of `from`; false
    /// where flows hold too much already. What is lent is paid back by [`Self::repay`].
    pub(crate) fn lend(&mut self, base: u32, from: u32, to: u32) -> bool {
        let more = beyond(base, to).saturating_sub(beyond(base, from));
        if self.grown + more > self.growable {
            return false;
        }
        self.grown += more;
        true
    }

    /// A ring that had room for `from` bytes is given up.
    #[inline]
    pub(crate) fn repay(&mut self, base: u32, from: u32) {
        if from > base {
            self.grown = self.grown.saturating_sub(beyond(base, from));
        }
    }

    /// Windows may grow: half of what can be lent is left.
    pub(crate) fn is_generous(&self) -> bool {
        self.grown <= self.growable / 2
    }

    /// Bytes that flows hold in windows that have grown.
    pub(crate) fn grown(&self) -> usize {
        self.grown
    }

    /// A buffer of at least so many bytes.
    #[inline]
    pub(crate) fn take(&mut self, bytes: usize) -> Box<[u8]> {
        self.lent += 1;
        if bytes <= SMALLEST
            && let Some(found) = self.classes[0].pop()
        {
            self.kept -= SMALLEST;
            return found;
        }
        self.take_larger(bytes)
    }

    fn take_larger(&mut self, bytes: usize) -> Box<[u8]> {
        let size = ring_size(bytes as u32);
        if let Some(found) = self.class(size).and_then(Class::pop) {
            self.kept -= size;
            return found;
        }
        vec![0; size].into_boxed_slice()
    }

    /// Buffers that flows have.
    pub(crate) fn lent(&self) -> u64 {
        self.lent
    }

    /// Takes a buffer back.
    #[inline]
    pub(crate) fn give(&mut self, buffer: Box<[u8]>) {
        let size = buffer.len();
        if size == 0 {
            return;
        }
        self.lent = self.lent.saturating_sub(1);
        if self.kept + size > KEPT {
            return;
        }
        if let Some(class) = self.class(size) {
            class.buffers.push(buffer);
            self.kept += size;
        }
    }

    #[inline]
    fn class(&mut self, size: usize) -> Option<&mut Class> {
        let class = size
            .trailing_zeros()
            .checked_sub(SMALLEST.trailing_zeros())?;
        self.classes.get_mut(class as usize)
    }

    /// Gives half of what nobody needed for a while to the allocator, a bounded part at once.
    #[inline]
    pub(crate) fn trim(&mut self, now: Instant) {
        if now >= self.trim_at {
            self.trim_at = now + TRIM_EVERY;
            self.give_up_idle();
        }
    }

    #[cold]
    fn give_up_idle(&mut self) {
        for (class, size) in self.classes.iter_mut().zip((0..).map(|n| SMALLEST << n)) {
            let spare = class.idle.div_ceil(2).min(TRIM_MOST);
            // Those that have lain here for longest.
            class.buffers.drain(..spare);
            self.kept -= spare * size;
            class.idle = class.buffers.len();
        }
        let spare = self.idle_queues.div_ceil(2).min(TRIM_MOST);
        self.queues.drain(..spare);
        self.idle_queues = self.queues.len();
    }

    /// An empty queue.
    #[inline]
    pub(crate) fn take_queue(&mut self) -> VecDeque<Sent> {
        let queue = self.queues.pop();
        self.idle_queues = self.idle_queues.min(self.queues.len());
        queue.unwrap_or_else(|| VecDeque::with_capacity(QUEUE_START))
    }

    /// Takes an empty queue back.
    #[inline]
    pub(crate) fn give_queue(&mut self, queue: VecDeque<Sent>) {
        if self.queues.len() < QUEUES && queue.capacity() <= QUEUE_LENGTH {
            self.queues.push(queue);
        }
    }
}

/// Bytes that a ring with room for `bytes` has beyond one with room for `base`.
fn beyond(base: u32, bytes: u32) -> usize {
    ring_size(bytes).saturating_sub(ring_size(base))
}

/// Bytes of the buffer that a ring takes for so many.
#[inline]
pub(crate) fn ring_size(bytes: u32) -> usize {
    (bytes as usize).next_power_of_two().max(SMALLEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_given_back_last_is_the_next_one() {
        let mut pool = Pool::default();
        let (a, b) = (pool.take(1), pool.take(1024));
        assert_eq!((a.len(), b.len()), (1024, 1024));
        let place = b.as_ptr();
        pool.give(a);
        pool.give(b);
        let again = pool.take(100);
        assert_eq!(again.as_ptr(), place);
        assert_eq!(pool.take(5000).len(), 8192);
        assert_eq!(pool.kept, 1024);
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

    #[test]
    fn what_nobody_needs_goes_back_and_what_is_needed_stays() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut pool = Pool::default();
        pool.trim(at(1));
        let buffers: Vec<_> = (0..1000).map(|_| pool.take(1)).collect();
        buffers.into_iter().for_each(|buffer| pool.give(buffer));
        pool.trim(at(2));
        assert_eq!(pool.kept, 1000 << 10, "all were needed in the last second");
        for second in 3..60 {
            let needed: Vec<_> = (0..10).map(|_| pool.take(1)).collect();
            needed.into_iter().for_each(|buffer| pool.give(buffer));
            pool.trim(at(second));
        }
        assert_eq!(pool.kept, 10 << 10);
    }
}

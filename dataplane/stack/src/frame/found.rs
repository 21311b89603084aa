//! What one worker found in a frame that belongs to another.

use super::Segment;
use crate::key::FlowKey;

/// A segment that was found in a frame, without the frame: what another worker needs not look for again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    key: FlowKey,
    seq: u32,
    ack: u32,
    window: u16,
    /// Where in the frame the options begin, the payload, and what is behind it.
    options: u16,
    payload: u16,
    end: u16,
    flags: u8,
    marked: bool,
}

impl Found {
    /// A segment of `frame`; `None` if it lies beyond the places that can be written down.
    #[inline]
    pub(crate) fn of(frame: &[u8], key: FlowKey, segment: &Segment<'_>) -> Option<Found> {
        let place = |part: &[u8]| part.as_ptr().addr().wrapping_sub(frame.as_ptr().addr());
        let (options, payload) = (place(segment.options), place(segment.payload));
        Some(Found {
            key,
            seq: segment.seq,
            ack: segment.ack,
            window: segment.window,
            options: options.try_into().ok()?,
            payload: payload.try_into().ok()?,
            end: (payload + segment.payload.len()).try_into().ok()?,
            flags: segment.flags,
            marked: segment.marked,
        })
    }

    /// The flow and the segment, as they were found in this frame.
    #[inline]
    pub(crate) fn within<'a>(&self, frame: &'a [u8]) -> Option<(FlowKey, Segment<'a>)> {
        let [options, payload, end] = [self.options, self.payload, self.end].map(usize::from);
        let segment = Segment {
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            marked: self.marked,
            options: frame.get(options..payload)?,
            payload: frame.get(payload..end)?,
        };
        Some((self.key, segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_found_again_in_its_frame_and_in_no_shorter_one() {
        let frame: Vec<u8> = (0..100).collect();
        let key = FlowKey::new(
            1,
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:81".parse().unwrap(),
        );
        for (payload, end) in [(66, 100), (66, 66), (54, 60)] {
            let segment = Segment {
                seq: 1,
                ack: 2,
                flags: 0x18,
                window: 3,
                marked: true,
                options: &frame[54..payload],
                payload: &frame[payload..end],
            };
            let found = Found::of(&frame, key, &segment).unwrap();
            let (flow, again) = found.within(&frame).unwrap();
            assert!(flow == key);
            assert_eq!(
                (
                    again.seq,
                    again.ack,
                    again.flags,
                    again.window,
                    again.marked
                ),
                (1, 2, 0x18, 3, true)
            );
            assert_eq!(
                (again.options, again.payload),
                (segment.options, segment.payload)
            );
            assert!(found.within(&frame[..end - 1]).is_none());
        }
    }
}

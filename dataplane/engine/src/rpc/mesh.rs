//! Requests behind a MeshHeader, the predecessor of TTHeader: they are put behind a TTHeader with the same
//! pairs, so that the rules see them and services of TTHeader take them. What a service gets that speaks
//! what its callers speak is the header as it was received.

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::Parsed;
use sluice_wire::ttheader::MeshHeader;

use super::Dialect;
use super::frames::Taken;
use super::front::{Bounds, Frame};
use crate::downstream::Step;
use crate::stats::Refused;
use crate::worker::Worker;

impl<P: PacketIo> Worker<P> {
    /// Begins the call whose frame of `len` bytes is at the front of its caller's receive ring. All of it has
    /// to come together.
    #[cold]
    pub(super) fn begin_mesh_call(
        &mut self,
        number: u32,
        front: &[u8],
        len: usize,
        bounds: &Bounds,
        now: Instant,
    ) -> Step {
        let Some(flow) = self.rpc.callers.get(number as usize).map(|c| c.flow) else {
            return Step::Over;
        };
        let mut mesh = self.rpc.buffers.take();
        let mut lifted = self.rpc.buffers.take();
        let shown = self.stack.front(flow, len, &mut self.spare.linear);
        let whole = shown.get(..len).ok_or(Refused::FrameTooLarge);
        let written = whole.and_then(|frame| lift((front, frame), bounds, &mut mesh, &mut lifted));
        let step = match written {
            Ok(()) => {
                self.stack.consume(flow, len);
                let taken = Taken {
                    front: &lifted,
                    len: lifted.len(),
                    ring: None,
                    mesh: &mesh,
                };
                self.begin_call(number, &taken, bounds, now)
            }
            Err(why) => self.refuse_frame(number, why, now),
        };
        self.rpc.buffers.give_back(mesh);
        self.rpc.buffers.give_back(lifted);
        step
    }
}

/// Writes a frame, whose beginning and whose whole are given, behind a TTHeader.
fn lift(
    (front, frame): (&[u8], &[u8]),
    bounds: &Bounds,
    mesh: &mut Vec<u8>,
    lifted: &mut Vec<u8>,
) -> Result<(), Refused> {
    let parsed = Frame::parse(Dialect::MeshHeader, front, bounds).map_err(|(error, _)| error)?;
    let message = parsed.payload.message().ok_or(Refused::UnknownProtocol)?;
    let Parsed::Complete(header) = MeshHeader::parse(parsed.mesh, &bounds.head())? else {
        // A message without one, behind some that had one.
        return Err(Refused::Magic);
    };
    mesh.extend_from_slice(parsed.mesh);
    let payload = frame.get(parsed.mesh.len()..).unwrap_or_default();
    let written = header.lift(lifted, message, payload.len());
    written.map_err(|_| Refused::HeaderTooLarge)?;
    lifted.extend_from_slice(payload);
    Ok(())
}

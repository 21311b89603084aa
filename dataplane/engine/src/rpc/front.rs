//! The frame at the front of a receive ring: where it ends, and its first bytes in one piece.

use sluice_stack::FlowId;
use sluice_stack::Stack;
use sluice_stack::io::PacketIo;
use sluice_wire::Parsed;
use sluice_wire::thrift::{self, MessageError, MessageHead, MessageKind, SkipError, Skipper};
use sluice_wire::ttheader::{self, Head, HeadError, MeshHeader, Payload, PayloadError, Sequences};

use super::Dialect;

/// Bytes behind a TTHeader that hold the head of any message whose method may be that long.
const MESSAGE_HEAD: usize = 1024;

/// Frames up to this length are copied and written in one piece.
const SMALL: usize = 4096;

/// How much there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes that can come together in the ring: longer frames are taken as they come.
    pub(super) whole: usize,
    /// Largest frame.
    pub(super) frame: usize,
}

impl Bounds {
    pub(super) fn head(&self) -> ttheader::Limits {
        let most = ttheader::Limits::default().head;
        ttheader::Limits {
            head: most.min(self.whole.saturating_sub(MESSAGE_HEAD)),
            frame: self.frame,
        }
    }

    fn message(&self) -> thrift::Limits {
        thrift::Limits {
            message: u32::try_from(self.frame).unwrap_or(u32::MAX),
            ..thrift::Limits::default()
        }
    }
}

/// Why a frame is refused: its end is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrontError {
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(transparent)]
    Skip(#[from] SkipError),
}

/// How far the end of a message without a frame has been looked for.
pub(super) struct Skipping {
    skipper: Skipper,
    at: usize,
}

/// Looks at the front of a flow's receive ring. When the frame there is complete, or longer than what
/// can come together, its beginning is copied to `front`: the head, that of its message, and all of
/// it where it is small. Returns the length of the whole frame.
#[inline]
pub(super) fn look<P: PacketIo>(
    stack: &mut Stack<P>,
    (flow, dialect): (FlowId, Dialect),
    bounds: &Bounds,
    skipping: &mut Option<Box<Skipping>>,
    front: &mut Vec<u8>,
    linear: &mut Vec<u8>,
) -> Result<Parsed<usize>, FrontError> {
    let shown = stack.front(flow, bounds.whole, linear);
    let measured = match dialect {
        Dialect::TtHeader => Head::lengths(shown, &bounds.head())?,
        Dialect::Thrift => message_lengths(shown, (bounds, 0), skipping)?,
        Dialect::MeshHeader => behind_mesh_header(shown, bounds, skipping)?,
    };
    let (head_len, len) = match measured {
        Parsed::Complete(lengths) => lengths,
        Parsed::Incomplete { need } => return Ok(Parsed::Incomplete { need }),
    };
    let beginning = len.min(head_len + MESSAGE_HEAD);
    let need = if len <= bounds.whole { len } else { beginning };
    let copied = if len <= SMALL { len } else { beginning };
    if shown.len() < need {
        return Ok(Parsed::Incomplete { need });
    }
    front.clear();
    front.extend_from_slice(shown.get(..copied).unwrap_or_default());
    Ok(Parsed::Complete(len))
}

/// Bytes of a MeshHeader, if there is one, and of the whole frame with the plain message behind it.
#[cold]
fn behind_mesh_header(
    shown: &[u8],
    bounds: &Bounds,
    skipping: &mut Option<Box<Skipping>>,
) -> Result<Parsed<(usize, usize)>, FrontError> {
    let mesh_len = match MeshHeader::length(shown, &bounds.head()) {
        Ok(Parsed::Complete(len)) => len,
        Ok(Parsed::Incomplete { need }) => return Ok(Parsed::Incomplete { need }),
        Err(HeadError::Magic) => 0,
        Err(error) => return Err(error.into()),
    };
    let Some(message) = shown.get(mesh_len..).filter(|message| !message.is_empty()) else {
        return Ok(Parsed::Incomplete { need: mesh_len + 1 });
    };
    Ok(
        match message_lengths(message, (bounds, mesh_len), skipping)? {
            Parsed::Complete((_, len)) => Parsed::Complete((mesh_len, mesh_len + len)),
            Parsed::Incomplete { need } => Parsed::Incomplete {
                need: mesh_len + need,
            },
        },
    )
}

/// Bytes of the head of a plain message, none of which is TTHeader's, and of the whole message. `before` is what stands
/// before it.
fn message_lengths(
    shown: &[u8],
    (bounds, before): (&Bounds, usize),
    skipping: &mut Option<Box<Skipping>>,
) -> Result<Parsed<(usize, usize)>, FrontError> {
    let whole = bounds.whole.saturating_sub(before);
    let message = match MessageHead::parse(shown, &bounds.message())? {
        Parsed::Complete(message) => message,
        Parsed::Incomplete { need } => return Ok(Parsed::Incomplete { need }),
    };
    if let Some(len) = message.framed_len() {
        return Ok(Parsed::Complete((0, len)));
    }
    // Only what comes together: where it ends is not known before.
    let most = u32::try_from(whole).unwrap_or(u32::MAX);
    let (mut skipper, at) = match skipping.take() {
        Some(before) => (before.skipper, before.at),
        None => {
            let skipper = Skipper::new(message.protocol, most);
            (
                skipper.ok_or(MessageError::UnknownProtocol)?,
                message.bytes().len(),
            )
        }
    };
    match skipper.advance(shown.get(at..).unwrap_or_default())? {
        Some(more) => Ok(Parsed::Complete((0, at + more))),
        None if shown.len() >= whole => Err(SkipError::TooLarge.into()),
        None => {
            let at = shown.len();
            *skipping = Some(Box::new(Skipping { skipper, at }));
            Ok(Parsed::Incomplete { need: at + 1 })
        }
    }
}

/// A frame as far as its beginning tells: of a request or a reply.
pub(super) struct Frame<'a> {
    /// Its TTHeader, where it has one.
    pub(super) head: Option<Head<'a>>,
    /// Its MeshHeader, which may be empty.
    pub(super) mesh: &'a [u8],
    pub(super) payload: Payload<'a>,
}

impl<'a> Frame<'a> {
    /// The frame whose beginning [`look`] has copied to `front`.
    ///
    /// # Errors
    /// With its head, where that is sound: its message is refused.
    #[inline]
    pub(super) fn parse(
        dialect: Dialect,
        front: &'a [u8],
        bounds: &Bounds,
    ) -> Result<Self, (FrameError, Option<Head<'a>>)> {
        if dialect != Dialect::TtHeader {
            let mesh_len = match dialect {
                Dialect::MeshHeader => MeshHeader::parse(front, &bounds.head()),
                _ => Err(HeadError::Magic),
            };
            let mesh_len = match mesh_len {
                Ok(Parsed::Complete(mesh)) => mesh.bytes().len(),
                Ok(Parsed::Incomplete { .. }) | Err(HeadError::Magic) => 0,
                Err(error) => return Err((error.into(), None)),
            };
            let (mesh, front) = front.split_at(mesh_len);
            return match MessageHead::parse(front, &bounds.message()) {
                Ok(Parsed::Complete(message)) => Ok(Frame {
                    head: None,
                    mesh,
                    payload: Payload::Message(message),
                }),
                Ok(Parsed::Incomplete { .. }) => Err((PayloadError::Truncated.into(), None)),
                Err(error) => Err((PayloadError::from(error).into(), None)),
            };
        }
        let head = match Head::parse(front, &bounds.head()) {
            Ok(Parsed::Complete(head)) => head,
            Ok(Parsed::Incomplete { .. }) => return Err((HeadError::HeaderPastFrame.into(), None)),
            Err(error) => return Err((error.into(), None)),
        };
        let behind = front.get(head.bytes().len()..).unwrap_or_default();
        match head.payload(behind, &bounds.message()) {
            Ok(Parsed::Complete(payload)) => Ok(Frame {
                head: Some(head),
                mesh: &[],
                payload,
            }),
            Ok(Parsed::Incomplete { .. }) => Err((PayloadError::Truncated.into(), Some(head))),
            Err(error) => Err((error.into(), Some(head))),
        }
    }

    /// Whether its message is a call.
    pub(super) fn is_request(&self) -> bool {
        let message = self.payload.message();
        message
            .is_some_and(|message| matches!(message.kind, MessageKind::Call | MessageKind::Oneway))
    }

    /// Bytes before its payload.
    #[inline]
    pub(super) fn head_len(&self) -> usize {
        self.head
            .as_ref()
            .map_or(self.mesh.len(), |head| head.bytes().len())
    }

    /// Its sequences; without a TTHeader that of the message is both.
    #[inline]
    pub(super) fn sequences(&self) -> Sequences {
        let message = self.payload.message().map(|message| message.sequence);
        let frame = self.head.as_ref().map(Head::sequence).or(message);
        Sequences {
            frame: frame.unwrap_or_default(),
            message,
        }
    }
}

/// Why a complete frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

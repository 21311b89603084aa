//! The first bytes of a client's connection: whether it speaks HTTP or RPC.

use sluice_policy::rules::ListenerProtocol;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::detect::{DECIDES, Protocol, detect};

use super::caller::Caller;
use super::{Dialect, SHARED_FRAME};
use crate::downstream::{Opening, Step};
use crate::stats::{ConnectionProtocol, RequestFate};
use crate::worker::{Role, Worker};

impl<P: PacketIo> Worker<P> {
    /// Looks at the first bytes of a connection, of which there are some.
    #[cold]
    pub(crate) fn recognise(&mut self, number: u32, finished: bool, now: Instant) -> Step {
        let Some(down) = self.downs.get_mut(number as usize) else {
            return Step::Over;
        };
        let rules = self.generations.current().listener_rules(down.listener);
        let protocol = rules.map_or(ListenerProtocol::Http, |own| own.protocol);
        let max_frame = rules.map_or(0, |own| own.max_frame);
        let first = self.stack.front(down.flow, DECIDES, &mut self.spare.linear);
        let dialect = match protocol {
            ListenerProtocol::Http => None,
            ListenerProtocol::TtHeader => Some(Dialect::TtHeader),
            ListenerProtocol::Thrift => Some(Dialect::Thrift),
            ListenerProtocol::Auto => match detect(first) {
                Some(Protocol::TtHeader) => Some(Dialect::TtHeader),
                Some(Protocol::MeshHeader) => Some(Dialect::MeshHeader),
                Some(
                    Protocol::ThriftBinary
                    | Protocol::ThriftCompact
                    | Protocol::FramedThriftBinary
                    | Protocol::FramedThriftCompact
                    | Protocol::FramedKitexProtobuf,
                ) => Some(Dialect::Thrift),
                // What is neither is refused as HTTP refuses it.
                Some(_) => None,
                None if !could_be_rpc(first, max_frame) => None,
                None if finished => {
                    let notes = self.notes_of_unread(number, now);
                    self.request_ended(notes, RequestFate::ClientGone, 0, now);
                    self.close_downstream(number, now);
                    return Step::Over;
                }
                None => {
                    if down.seen == 0 {
                        down.waiting_since = now;
                    }
                    down.seen = first.len();
                    return Step::Wait;
                }
            },
        };
        let Some(dialect) = dialect else {
            down.opening = Opening::Http;
            self.stats.protocols.count(ConnectionProtocol::Http);
            return Step::Again;
        };
        let Some(down) = self.downs.try_remove(number as usize) else {
            return Step::Over;
        };
        self.down_timers.cancel(number);
        self.stats.protocols.count(match dialect {
            Dialect::TtHeader => ConnectionProtocol::TtHeader,
            Dialect::Thrift => ConnectionProtocol::Thrift,
            Dialect::MeshHeader => ConnectionProtocol::MeshHeader,
        });
        let flow = down.flow;
        let whole = SHARED_FRAME.min(self.stack.receive_limit(flow));
        self.rpc.stamps = self.rpc.stamps.wrapping_add(1);
        let caller = Caller::new(&down, dialect, whole, self.rpc.stamps);
        let caller = self.rpc.callers.insert(caller) as u32;
        self.stack.adopt(flow, Role::Caller(caller).number());
        self.drive_caller(caller, now);
        Step::Over
    }
}

/// Whether these bytes, which do not tell yet, have to be waited behind: they are no text, or the length of a
/// frame that is not larger than allowed. What may be text is HTTP's at once, so that its deadlines and answers hold.
fn could_be_rpc(first: &[u8], max_frame: usize) -> bool {
    let mut length = [0; 4];
    for (place, byte) in length.iter_mut().zip(first) {
        *place = *byte;
    }
    let is_text = |byte: &u8| matches!(byte, b'\r' | b'\n' | b' '..=b'~');
    !first.iter().all(is_text) || u32::from_be_bytes(length) as usize <= max_frame
}

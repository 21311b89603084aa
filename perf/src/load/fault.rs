//! How a request can fail.

use crate::report::ErrorKind;

sluice_stack::counters! {
    /// Why a request has no checked answer.
    pub enum Fault {
        /// The target did not answer the connection attempt in time.
        ConnectTimeout => "connect_timeout",
        /// The target reset the connection attempt.
        Refused => "refused",
        /// The neighbour on the way to the target does not answer.
        Unreachable => "unreachable",
        /// No connection could be begun here: no route, no free source port, or the table is full.
        NoConnection => "no_connection",
        /// The target reset the connection.
        Reset => "reset",
        /// The target closed the connection before the answer was complete.
        ClosedEarly => "closed_early",
        /// What came is no answer of the protocol.
        BadAnswer => "bad_answer",
        /// A whole answer with another status than expected.
        WrongStatus => "wrong_status",
        /// A whole answer of another length, or with other bytes, than expected.
        WrongBody => "wrong_body",
        /// Bytes that no request asked for: behind an answer, or on a connection without a request.
        Unexpected => "unexpected",
        /// No whole answer in time.
        Timeout => "timeout",
    }
}

impl Fault {
    /// The kind that a report tells.
    pub fn kind(self) -> ErrorKind {
        match self {
            Fault::ConnectTimeout => ErrorKind::ConnectTimeout,
            Fault::Refused => ErrorKind::Refused,
            Fault::Unreachable => ErrorKind::Unreachable,
            Fault::NoConnection => ErrorKind::NoConnection,
            Fault::Reset => ErrorKind::Reset,
            Fault::ClosedEarly => ErrorKind::ClosedEarly,
            Fault::BadAnswer => ErrorKind::BadAnswer,
            Fault::WrongStatus => ErrorKind::WrongStatus,
            Fault::WrongBody => ErrorKind::WrongBody,
            Fault::Unexpected => ErrorKind::Unexpected,
            Fault::Timeout => ErrorKind::Timeout,
        }
    }
}

//! Where received frames end. Every frame ends in exactly one of these, and each is counted, so
//! that frames received always equal the sum of the fates.

crate::counters! {
    /// The one end of a received frame.
    pub enum FrameFate {
        /// Given to the TCP state machine of its flow.
        Flow => "flow",
        /// A SYN that was answered and recorded as half open.
        Syn => "syn",
        /// The ACK that turned a half-open record into a flow.
        Accepted => "accepted",
        /// Answered from a record of a closed flow (TIME-WAIT).
        TimeWait => "time_wait",
        /// ARP that was answered or learned from.
        Arp => "arp",
        /// Neighbour discovery that was answered or learned from.
        Ndp => "ndp",
        /// A question for the multicast groups that are listened to (MLD), which was answered.
        Mld => "mld",
        /// A router's word that a packet of one of our flows was too large, believed or not.
        PathMtu => "path_mtu",
        /// An echo request that was answered.
        Echo => "icmp_echo",
        /// Addressed to another station, or multicast that nobody here wants.
        NotForUs => "not_for_us",
        /// Dropped: shorter than its headers say, or than an Ethernet header.
        Truncated => "truncated",
        /// Dropped: neither IPv4, IPv6 nor ARP.
        UnknownEtherType => "unknown_ethertype",
        /// Dropped: of a VLAN that is not the port's (802.1Q).
        Vlan => "vlan",
        /// Dropped: of no VLAN, on a port that has one.
        Untagged => "untagged",
        /// Dropped: a tag of a provider (802.1ad), or a second one.
        DoubleTagged => "double_tagged",
        /// Dropped: an IP header that breaks RFC 791 or RFC 8200, or has a source route.
        BadIp => "bad_ip_header",
        /// Dropped: behind extension headers of IPv6 that no host may pass over, or more of them than are looked at.
        ExtensionHeader => "extension_header",
        /// Dropped: an IP fragment; TCP peers are told to fit the path's MTU instead.
        Fragment => "ip_fragment",
        /// Dropped: a source address that can't be answered.
        BadSource => "bad_source_address",
        /// Dropped: from an address to which the port has no route.
        NoRoute => "no_route",
        /// Dropped: a destination that is not one of the port's addresses.
        NotOurAddress => "not_our_address",
        /// Dropped: neither TCP nor an ICMP message that is acted on.
        UnknownProtocol => "unknown_protocol",
        /// Dropped: IP, TCP or ICMP checksum wrong.
        BadChecksum => "bad_checksum",
        /// Dropped: a TCP header that breaks RFC 9293.
        BadTcp => "bad_tcp_header",
        /// Dropped: malformed or forged ARP, neighbour discovery or MLD, or not for one of our addresses.
        BadNeighbour => "bad_neighbour_message",
        /// Answered with RST: no flow, and no listener, as while draining.
        NoFlow => "no_flow",
        /// Dropped: a RST, or an answer beyond the rate limit, for a flow that is not there.
        NoFlowSilent => "no_flow_silent",
        /// Dropped: an ACK that does not complete its half-open flow.
        BadHandshake => "bad_handshake",
        /// Dropped: a connection beyond the limit of flows; the client will try again.
        Refused => "refused",
        /// Dropped: what is done with it ran into a defect of ours, which ended its flow.
        Panicked => "panicked",
        /// Dropped: it belongs to another worker, for which too many frames wait.
        HandOverFull => "hand_over_full",
    }
}

crate::counters! {
    /// What else happens in the stack and is counted.
    pub enum StackEvent {
        /// A flow that a client opened.
        FlowAccepted => "flow_accepted",
        /// A flow that we opened (SYN sent).
        FlowConnecting => "flow_connecting",
        /// A flow that ended with both sides' FIN.
        FlowClosed => "flow_closed",
        /// A flow that its peer reset.
        FlowReset => "flow_reset",
        /// A flow that we reset.
        FlowAborted => "flow_aborted",
        /// A flow that was given up: its peer acknowledged or answered nothing for too long.
        FlowTimedOut => "flow_timed_out",
        /// A segment sent again.
        SegmentRetransmitted => "segment_retransmitted",
        /// A loss found by what the peer acknowledged, and repaired without waiting for a timeout.
        FastRecovery => "fast_recovery",
        /// A retransmission timeout.
        RetransmissionTimeout => "retransmission_timeout",
        /// A probe sent because the end of what is under way was not acknowledged in time.
        TailLossProbe => "tail_loss_probe",
        /// Segments taken for lost that were only late: the window was put back.
        RecoveryUndone => "recovery_undone",
        /// A probe of a peer that has closed its window.
        WindowProbe => "window_probe",
        /// A probe of a peer that was silent for long.
        KeepAliveProbe => "keep_alive_probe",
        /// A RST, SYN or ACK that may be forged, answered by saying where the flow is.
        ChallengeAck => "challenge_ack",
        /// A segment dropped because its timestamp was older than one seen before.
        OldTimestamp => "old_timestamp",
        /// A flow that sends smaller segments since a router said so, or larger ones never arrived.
        PathMtuLowered => "path_mtu_lowered",
        /// A segment dropped because what flows may hold beyond their buffers was used up; the peer sends it
        /// again.
        WindowMemoryFull => "window_memory_full",
        /// A half-open record that never became a flow.
        HalfOpenExpired => "half_open_expired",
        /// A SYN answered with a cookie because the table of half-open records was full.
        SynCookie => "syn_cookie",
        /// A flow that a client opened by bringing such a cookie back.
        SynCookieAccepted => "syn_cookie_accepted",
        /// A frame held back for a neighbour whose address was being asked for.
        NeighbourHeld => "neighbour_held",
        /// A frame lost because too many waited for the same neighbour, or it never answered.
        NeighbourLost => "neighbour_lost",
        /// A neighbour that did not answer.
        NeighbourFailed => "neighbour_failed",
        /// A neighbour not recorded because the table was full of ones in use.
        NeighbourFull => "neighbour_full",
        /// A frame that could not be sent for want of a buffer; TCP sends it again.
        NoTxBuffer => "no_tx_buffer",
        /// An outgoing connection refused because every source port was taken.
        PortsExhausted => "ports_exhausted",
        /// A connection refused because the table of flows was full.
        FlowsFull => "flows_full",
        /// A defect of ours that a flow ran into and that ended it; the message is on the standard error
        /// output.
        Panicked => "panicked",
        /// A frame that a capture copied.
        Captured => "captured",
        /// A frame that a capture would have copied, had there been a free buffer.
        CaptureLost => "capture_lost",
        /// A received frame handed to the worker that it belongs to, where it meets its fate.
        HandedOver => "handed_over",
        /// A received frame taken over from the worker that received it.
        TakenOver => "taken_over",
        /// A frame sent by the queue of another worker, this one having none.
        FrameRelayed => "frame_relayed",
        /// A frame lost because too many waited for the queue of another worker.
        RelayFull => "relay_full",
        /// A neighbour's address that another worker could not be told of; it asks itself.
        LessonLost => "lesson_lost",
    }
}

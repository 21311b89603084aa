//! The names of what a TTHeader carries.

/// Integer keys (gopkg `protocol/ttheader/metakey.go`). Others are legal and kept.
pub mod integer {
    #![allow(missing_docs, reason = "each constant is the key of the same name")]

    pub const MESH_VERSION: u16 = 0;
    pub const TRANSPORT_TYPE: u16 = 1;
    pub const LOG_ID: u16 = 2;
    pub const FROM_SERVICE: u16 = 3;
    pub const FROM_CLUSTER: u16 = 4;
    pub const FROM_IDC: u16 = 5;
    pub const TO_SERVICE: u16 = 6;
    pub const TO_CLUSTER: u16 = 7;
    pub const TO_IDC: u16 = 8;
    pub const TO_METHOD: u16 = 9;
    pub const ENV: u16 = 10;
    pub const DEST_ADDRESS: u16 = 11;
    /// How long the caller waits, milliseconds in ASCII digits.
    pub const RPC_TIMEOUT: u16 = 12;
    pub const READ_TIMEOUT: u16 = 13;
    pub const RING_HASH_KEY: u16 = 14;
    pub const DDP_TAG: u16 = 15;
    pub const WITH_MESH_HEADER: u16 = 16;
    pub const CONNECT_TIMEOUT: u16 = 17;
    pub const SPAN_CONTEXT: u16 = 18;
    pub const SHORT_CONNECTION: u16 = 19;
    pub const FROM_METHOD: u16 = 20;
    pub const STRESS_TAG: u16 = 21;
    /// The kind of the message: a digit (Kitex) or the number itself (Volo).
    pub const MSG_TYPE: u16 = 22;
    pub const HTTP_CONTENT_TYPE: u16 = 23;
    pub const RAW_RING_HASH_KEY: u16 = 24;
    pub const LB_TYPE: u16 = 25;
    pub const CLUSTER_SHARD_ID: u16 = 26;
    /// What a frame is to its stream, see [`super::super::StreamFrame`].
    pub const FRAME_TYPE: u16 = 27;

    /// The keys that are found without a search: what routes, deadlines, logs and answers go by. The more
    /// there are, the more a head weighs.
    const INDEXED: [u16; 11] = [
        LOG_ID,
        FROM_SERVICE,
        FROM_CLUSTER,
        TO_SERVICE,
        TO_CLUSTER,
        TO_METHOD,
        ENV,
        RPC_TIMEOUT,
        STRESS_TAG,
        MSG_TYPE,
        FRAME_TYPE,
    ];

    /// Places for the keys in [`INDEXED`], and one in front for all others.
    pub(in super::super) const PLACES: usize = INDEXED.len() + 1;

    /// The place of a key; 0 where it is not indexed.
    #[inline]
    pub(in super::super) fn place(key: u16) -> usize {
        static PLACE: [u8; FRAME_TYPE as usize + 1] = {
            let mut table = [0; FRAME_TYPE as usize + 1];
            let mut index = 0;
            while index < INDEXED.len() {
                table[INDEXED[index] as usize] = index as u8 + 1;
                index += 1;
            }
            table
        };
        PLACE
            .get(usize::from(key))
            .copied()
            .unwrap_or_default()
            .into()
    }
}

/// String keys.
pub mod string {
    /// The service as its IDL calls it.
    pub const IDL_SERVICE: &[u8] = b"isn";
    /// The address of the caller proper.
    pub const REMOTE_ADDRESS: &[u8] = b"rip";
    /// Not empty in a reply: the caller shall close this connection behind it.
    pub const CONNECTION_RESET: &[u8] = b"crrst";
    /// CRC-32C of the payload, eight hexadecimal digits.
    pub const CRC32C: &[u8] = b"crc32c";
    /// Begins the keys of other checksums over the payload, which only the peers can compute.
    pub const VALIDATOR_PREFIX: &[u8] = b"PV_";
    /// The status of a reply that failed for a reason of the business.
    pub const BIZ_STATUS: &[u8] = b"biz-status";
    /// Its message.
    pub const BIZ_MESSAGE: &[u8] = b"biz-message";
    /// What else belongs to it: a JSON object of strings.
    pub const BIZ_EXTRA: &[u8] = b"biz-extra";
    /// How the ACL token is known to applications. On the wire it has an INFO block of its own.
    pub const ACL_TOKEN: &[u8] = b"RPC_TRANSIT_gdpr-token";
    /// Begins the keys of metadata that travels on with every call made on behalf of this one.
    pub const PERSIST_PREFIX: &[u8] = b"RPC_PERSIST_";
    /// Begins the keys of metadata from one service to the next.
    pub const TRANSIT_PREFIX: &[u8] = b"RPC_TRANSIT_";
    /// Begins the keys of metadata that a reply carries back to its caller.
    pub const BACKWARD_PREFIX: &[u8] = b"RPC_BACKWARD_";
}

/// INFO blocks.
pub(super) mod info {
    pub(in super::super) const PADDING: u8 = 0x00;
    pub(in super::super) const STRINGS: u8 = 0x01;
    pub(in super::super) const INTEGERS: u8 = 0x10;
    pub(in super::super) const ACL_TOKEN: u8 = 0x11;
}

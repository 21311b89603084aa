//! Sans-IO protocol codecs: bytes in, values out. Nothing here reads a socket, a clock or a random
//! source, and nothing allocates while it parses.
#![forbid(unsafe_code)]

pub mod detect;
pub mod http1;
mod parsed;
pub mod proxy_protocol;
pub mod thrift;
pub mod ttheader;

pub use parsed::Parsed;

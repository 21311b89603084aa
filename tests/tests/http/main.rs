//! What a gateway does with the messages that pass through it (RFC 9110, RFC 9112 and what stands
//! around them), byte by byte, in memory and virtual time. docs/http.md says the same in words.

#[path = "../engine/world.rs"]
#[allow(dead_code, reason = "shared with the tests of the engine")]
mod world;

mod documented;
mod forwarded;
mod limits;
mod proxied;
mod refusals;
mod trailers;
mod tunnels;

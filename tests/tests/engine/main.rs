//! The gateway's behaviour byte by byte: a client and a backend that a test drives by hand, in memory
//! and virtual time. Every test states the bytes on both sides, everything that was counted, and
//! that nothing is left.

mod bodies;
mod clients;
mod connections;
mod floods;
mod flows;
mod frames;
mod heads;
mod lifecycle;
mod rpc;
mod timeouts;
mod upstreams;
mod world;

//! RPCs byte by byte: callers, the gateway and a service that a test drives by hand.

mod beside;
mod channels;
mod frames;
mod hostile;
mod large;
mod limits;
mod mesh;
mod monoio;
mod plain;
mod rules;
mod streams;
mod waits;

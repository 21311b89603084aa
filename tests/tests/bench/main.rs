//! `sluice bench`, the real binary.
#![forbid(unsafe_code)]

mod compare;
mod page;
mod run;
mod targets;
mod wire;

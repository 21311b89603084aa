//! `sluice bench`, the real binary.
#![forbid(unsafe_code)]

mod compare;
mod page;
mod restart;
mod run;
mod targets;
mod wire;

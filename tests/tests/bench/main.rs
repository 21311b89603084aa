//! `sluice bench`, the real binary.
#![forbid(unsafe_code)]

mod page;
mod run;

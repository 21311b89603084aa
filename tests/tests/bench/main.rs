//! `sluice bench report` and `sluice bench compare`, the real binary.
#![forbid(unsafe_code)]

mod page;

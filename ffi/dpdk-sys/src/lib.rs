//! Raw bindings to libdpdk, generated at build time from `wrapper.h`.
//!
//! Bindings and nothing else: what is safe to call, and when, is the business of the `dpdk` crate.
//! DPDK keeps much of its data path in `static inline` functions; `bindgen` writes a C wrapper for each,
//! so a call costs one call more than it does in C. What `wrapper.h` adds of its own (field offsets of an
//! mbuf, 64-bit flags, `rte_errno`) is named `sluice_*` or `SLUICE_*`.

#![allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

//! The benches whose instructions `perf/icount` counts, as one program: optimising each of them for itself
//! takes as long as everything before.
//!
//! The first argument names the bench, the others are its own.

#[path = "hot_paths.rs"]
mod hot_paths;
#[path = "proxied_call.rs"]
mod proxied_call;
#[path = "proxied_request.rs"]
mod proxied_request;
#[path = "ttheader_codec.rs"]
mod ttheader_codec;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("hot_paths") => hot_paths::main(),
        Some("proxied_call") => proxied_call::main(),
        Some("proxied_request") => proxied_request::main(),
        Some("ttheader_codec") => ttheader_codec::main(),
        // `cargo bench` and `cargo test` start every bench: those above show themselves.
        _ => println!("icount: perf/icount runs this"),
    }
}

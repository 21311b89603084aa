//! Traces: what the stack sends for what a peer says, segment by segment, and what it counts.

mod peer;

mod attacks;
mod closing;
mod extensions;
mod hostile;
mod listening;
mod loss;
mod paths;
mod receiving;
mod tagged;
mod waiting;
mod windows;

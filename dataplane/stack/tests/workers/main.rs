//! Several stacks over one port: whatever queue a frame comes in by, its flow is served, by the worker that
//! owns it; what finds a ring full is counted, and mended by what TCP sends again.

mod hand_over;
mod steering;
mod world;

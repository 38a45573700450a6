//! Hostile peers, and a process that runs out of descriptors. `cargo xtask verify hostile-peers` runs these tests.
//!
//! Every test here holds [`alone`](integration_tests::process::alone), because most of them measure.

mod crowd;
mod no_descriptors_left;
mod peers;

//! Tests of the process's resources and state: descriptors and their numbers, threads, processor time, signals.
//!
//! Every test here holds [`alone`](integration_tests::process::alone), so that they run one after the other.

mod duplicated_descriptor;
mod fork_and_exit;
mod late_events;
mod panicking_subscriber;
mod panics_are_logged;
mod passed_descriptors;
mod platform;
mod port_create;
mod port_idle;
mod port_interrupted;
mod port_one_shot;
mod port_register;
mod port_remove;
mod port_stress;
mod raw_waits;
mod removal;
mod signal_storm;
mod sigpipe;
mod storm;
mod unusable_descriptor;

//! A socket on real connections, a file per behaviour.
//!
//! These tests run side by side in one process. Tests that count or change the process's resources are in `process`.

mod blocking_mode;
mod callback_threads;
mod cancel;
mod chains;
mod close;
mod close_async;
mod close_race;
mod closing_in_callbacks;
mod create_and_destroy;
mod deadlines;
mod departed_peer;
mod end_of_stream;
mod end_reasons;
mod error_queue;
mod fairness;
mod full_duplex;
mod high_water;
mod interleaving;
mod into_fd;
mod kinds;
mod large_transfers;
mod lent_buffers;
mod many_sockets;
mod metrics;
mod misuse;
mod no_spinning;
mod open;
mod panics;
mod payload_refused;
mod pooled_receives;
mod queued_receives;
mod raw_buffers;
mod receive;
mod send;
mod several_ports;
mod shutdown;
mod spans;
mod unreliable_buffers;
mod urgent_data;
mod with_descriptor;

//! The process-wide execution engine: what a socket lives on that was created with none.
//!
//! A Rust program need not call anything here: the engine is made, with one thread, when first
//! needed, and lives until [`deinit`] or the end of the process.

use crate::engine::ExecutionEngine;
use completion_port::{CompletionPort, CreatePortError};
use parking_lot::Mutex;

static ENGINE: Mutex<Option<ExecutionEngine>> = Mutex::new(None);

/// Makes the engine with as many threads, unless there is one already.
///
/// # Errors
/// [`CreatePortError`], if a port could not be created.
pub fn init(threads: usize) -> Result<(), CreatePortError> {
    engine_or(|| ExecutionEngine::builder().threads(threads).build()).map(drop)
}

/// Lets go of the engine. Sockets that live on it are not disturbed; its threads end with the last of them.
pub fn deinit() {
    // Dropped without the lock: that joins the threads.
    let engine = ENGINE.lock().take();
    drop(engine);
}

/// Whether there is an engine.
#[must_use]
pub fn is_initialized() -> bool {
    ENGINE.lock().is_some()
}

/// The specification's `platform_get_completion_port`: a new reference to the next port of the engine, which
/// is made if there is none.
///
/// # Errors
/// [`CreatePortError`], if the engine had to be made and could not.
pub fn get_completion_port() -> Result<CompletionPort, CreatePortError> {
    engine_or(|| ExecutionEngine::builder().build()).map(|engine| engine.completion_port())
}

fn engine_or(
    make: impl FnOnce() -> Result<ExecutionEngine, CreatePortError>,
) -> Result<ExecutionEngine, CreatePortError> {
    let mut engine = ENGINE.lock();
    match &*engine {
        Some(engine) => Ok(engine.clone()),
        None => Ok(engine.insert(make()?).clone()),
    }
}

//! The process-wide execution engine, for sockets that are created without one.
//!
//! A Rust program need not call anything here. The engine is made with one thread when it is first needed, and lives until
//! [`deinit`] or the end of the process.
//!
//! Each process has its own engine. In the child of a `fork` there is none at first, whatever the parent had. The child's first
//! use, or its [`init`], makes one. [`deinit`] in the child does nothing to the parent's.

use crate::engine::ExecutionEngine;
use completion_port::process::PerProcess;
use completion_port::{CompletionPort, CreatePortError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use thiserror::Error;

static ENGINE: PerProcess<Mutex<Option<ExecutionEngine>>> = PerProcess::new();

/// Why the process-wide engine could not be made as asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitError {
    /// There is an engine already. Another `init` made it, or the first socket that was created without an engine.
    #[error("the process-wide engine has {threads} threads already, not {asked}: init before the first use, or deinit")]
    AlreadyInitialized {
        /// How many threads it has.
        threads: usize,
        /// How many were asked for.
        asked: usize,
    },
    /// A port could not be created.
    #[error(transparent)]
    CompletionPort(#[from] CreatePortError),
}

/// Makes the engine with this number of threads. 0 counts as 1. Does nothing if there is an engine with the same number.
///
/// # Errors
/// [`InitError`]: there is an engine with another number of threads, or a port could not be created.
// Codes_SRS_PLATFORM_01_001, Codes_SRS_PLATFORM_01_002
pub fn init(threads: usize) -> Result<(), InitError> {
    let asked = threads.max(1);
    let engine = engine_or(|| ExecutionEngine::builder().threads(asked).build())?;
    match engine.threads() {
        threads if threads == asked => Ok(()),
        threads => Err(InitError::AlreadyInitialized { threads, asked }),
    }
}

/// Gives up the engine. Sockets on it go on working. Its threads end with the last of these.
// Codes_SRS_PLATFORM_01_003
pub fn deinit() {
    // Dropped without the lock, because the drop joins the threads.
    let engine = lock().ok().and_then(|mut engine| engine.take());
    drop(engine);
}

/// Whether there is an engine in this process.
#[must_use]
pub fn is_initialized() -> bool {
    lock().is_ok_and(|engine| engine.is_some())
}

/// The specification's `platform_get_completion_port`: a new reference to the next port of the engine. If there is no engine,
/// one is made.
///
/// # Errors
/// [`CreatePortError`], if the engine had to be made and could not.
pub fn get_completion_port() -> Result<CompletionPort, CreatePortError> {
    engine_or(|| ExecutionEngine::builder().build()).map(|engine| engine.completion_port())
}

fn engine_or(
    make: impl FnOnce() -> Result<ExecutionEngine, CreatePortError>,
) -> Result<ExecutionEngine, CreatePortError> {
    let mut engine = lock()?;
    match &*engine {
        Some(engine) => Ok(engine.clone()),
        None => Ok(engine.insert(make()?).clone()),
    }
}

// Codes_SRS_PLATFORM_01_004
fn lock() -> Result<MutexGuard<'static, Option<ExecutionEngine>>, CreatePortError> {
    let engine = ENGINE.get().map_err(|source| CreatePortError { call: "pthread_atfork", source })?;
    Ok(engine.lock().unwrap_or_else(PoisonError::into_inner))
}

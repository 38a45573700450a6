//! Two pools of buffers that all sockets share.

use crate::seeing::{Told, metrics};
use arbitrary::Arbitrary;
use async_socket::*;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Arbitrary)]
pub(crate) enum PoolCall {
    /// Makes one. If one of the numbers is 0, it is refused.
    Create { second: bool, buffer_bytes: u8, limit: u8 },
    /// More bytes than a buffer can have.
    TooLarge,
    Destroy { second: bool },
    Metrics { second: bool, size: u16, no_handle: bool },
    /// NULL is ignored.
    Nothing,
}

/// A pool. The receives that were begun with it have copies.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) handle: ASYNC_SOCKET_BUFFER_POOL_HANDLE,
    pub(crate) buffer_bytes: usize,
    pub(crate) limit: usize,
    /// How many of its buffers the program holds.
    pub(crate) held: Arc<AtomicUsize>,
    /// How many of these were not given back inside the callback, so that they stay until this thread releases them.
    pub(crate) kept: Arc<AtomicUsize>,
}

#[derive(Default)]
pub(crate) struct Pools([Option<Pool>; 2]);

impl Pools {
    pub(crate) fn get(&self, second: bool) -> Option<&Pool> {
        self.0[usize::from(second)].as_ref()
    }

    pub(crate) fn call(&mut self, call: &PoolCall) {
        match *call {
            PoolCall::Create { second, buffer_bytes, limit } => {
                let (buffer_bytes, limit) = (usize::from(buffer_bytes), usize::from(limit) % 4);
                let handle = async_socket_buffer_pool_create(buffer_bytes, limit);
                assert_eq!(handle.is_null(), buffer_bytes == 0 || limit == 0);
                if !handle.is_null() {
                    let pool = Pool { handle, buffer_bytes, limit, held: Arc::default(), kept: Arc::default() };
                    destroy(self.0[usize::from(second)].replace(pool));
                }
            }
            PoolCall::TooLarge => assert!(async_socket_buffer_pool_create(1 << 32, 1).is_null()),
            PoolCall::Destroy { second } => destroy(self.0[usize::from(second)].take()),
            PoolCall::Metrics { second, size, no_handle } => {
                if let Some(pool) = self.get(second) {
                    pool.metrics(size, no_handle);
                }
            }
            PoolCall::Nothing => {
                // SAFETY: NULL is allowed.
                unsafe { async_socket_buffer_pool_destroy(null_mut()) };
                // SAFETY: NULL is allowed.
                unsafe { async_socket_pooled_buffer_release(null_mut()) };
            }
        }
    }

    /// When all sockets are gone and all buffers were released.
    pub(crate) fn end(self) {
        for pool in self.0.into_iter().flatten() {
            let now = pool.metrics(u16::try_from(size_of::<ASYNC_SOCKET_BUFFER_POOL_METRICS>()).expect("small"), false);
            let now = now.expect("room for all");
            assert_eq!((now.buffers_free, now.receives_waiting), (now.buffers_made, 0), "nothing is held or waits");
            destroy(Some(pool));
        }
    }
}

impl Pool {
    fn metrics(&self, size: u16, no_handle: bool) -> Option<ASYNC_SOCKET_BUFFER_POOL_METRICS> {
        let kept = self.kept.load(Ordering::SeqCst) as u64;
        let handle = if no_handle { null_mut() } else { self.handle };
        // SAFETY: NULL or a valid handle; there is room.
        let told = metrics(size, |place, size| unsafe { async_socket_buffer_pool_get_metrics(handle, place, size) });
        assert_eq!(matches!(told, Told::Refused), no_handle);
        let Told::All(now) = told else { return None };
        assert_eq!(now.limit, self.limit as u64);
        assert!(now.buffers_made <= now.limit && now.buffers_free + kept <= now.buffers_made, "{now:?}, {kept} kept");
        assert!(now.receives_waiting <= now.receives_delayed, "{now:?}");
        Some(now)
    }
}

fn destroy(pool: Option<Pool>) {
    if let Some(pool) = pool {
        // SAFETY: a valid handle, which is not used again.
        unsafe { async_socket_buffer_pool_destroy(pool.handle) };
    }
}

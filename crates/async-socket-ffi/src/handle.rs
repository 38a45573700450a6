//! Counted references that C holds as handles.

use completion_port::memory::TryArc;
use std::mem::ManuallyDrop;

/// Gives the reference to C. The pointer is not NULL.
#[inline]
pub(crate) fn into_handle<T>(reference: TryArc<T>) -> *mut T {
    TryArc::into_raw(reference).cast_mut()
}

/// Takes a reference back from C; `None` for NULL.
///
/// # Safety
/// `handle` is NULL or came from [`into_handle`], and its owner gives this reference up.
#[inline]
pub(crate) unsafe fn from_handle<T>(handle: *mut T) -> Option<TryArc<T>> {
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_019, Codes_SRS_ASYNC_SOCKET_LINUX_11_024, Codes_SRS_ASYNC_SOCKET_LINUX_11_035
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_043, Codes_SRS_ASYNC_SOCKET_LINUX_11_064, Codes_SRS_C_LIBRARY_01_070
    if handle.is_null() {
        return None;
    }
    // SAFETY: not NULL, so it came from `into_raw`.
    Some(unsafe { TryArc::from_raw(handle) })
}

/// A second reference for the length of a call, because a callback inside the call may destroy the handle. `None` for
/// NULL.
///
/// # Safety
/// `handle` is NULL or came from [`into_handle`], and its owner keeps it until this returns.
#[inline]
pub(crate) unsafe fn borrow<T>(handle: *mut T) -> Option<TryArc<T>> {
    // SAFETY: the owner's reference is only cloned, never dropped.
    let owners = ManuallyDrop::new(unsafe { from_handle(handle) }?);
    Some(TryArc::clone(&owners))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null_mut;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn the_value_lives_until_the_last_reference_is_given_up() {
        let value = Arc::new(7);
        let handle = into_handle(TryArc::new(Arc::clone(&value)));
        // SAFETY: a reference that has not been given up.
        let borrowed = unsafe { borrow(handle) }.unwrap();
        assert_eq!((**borrowed, TryArc::references(&borrowed)), (7, 2));
        // SAFETY: the handle is not used again.
        drop(unsafe { from_handle(handle) });
        assert_eq!((Arc::strong_count(&value), TryArc::references(&borrowed)), (2, 1));
        thread::spawn(move || drop(borrowed)).join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn null_is_no_reference() {
        // SAFETY: NULL is allowed.
        assert!(unsafe { borrow::<u8>(null_mut()) }.is_none());
        // SAFETY: NULL is allowed.
        assert!(unsafe { from_handle::<u8>(null_mut()) }.is_none());
    }
}

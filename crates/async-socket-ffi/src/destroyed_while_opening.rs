//! A socket that one thread destroys while another thread opens it. The test is inside the crate, because it holds the
//! opening thread in its system call.

use crate::kernel::held::NEXT_ADD;
use crate::{
    ASYNC_SOCKET_HANDLE, ASYNC_SOCKET_OPEN_RESULT, async_socket_create, async_socket_destroy, async_socket_open_async,
    platform_deinit, platform_init,
};
use std::ffi::c_void;
use std::io::Read;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// Within this time a destroy that does not wait returns.
const WHILE: Duration = Duration::from_millis(50);

unsafe extern "C" fn opened(context: *mut c_void, result: ASYNC_SOCKET_OPEN_RESULT) {
    // SAFETY: the context is the test's, which waits for both threads.
    unsafe { &*context.cast::<AtomicU32>() }.fetch_add(result as u32, Ordering::Relaxed);
}

fn handle(address: usize) -> ASYNC_SOCKET_HANDLE {
    with_exposed_provenance_mut(address)
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_020
#[test]
fn destroying_waits_until_the_other_thread_has_opened_and_then_closes() {
    assert_eq!(platform_init(), 0);
    let (ours, mut peer) = UnixStream::pair().unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    ours.set_nonblocking(true).unwrap();
    // SAFETY: the descriptor is given away.
    let socket = unsafe { async_socket_create(null_mut(), ours.into_raw_fd()) }.expose_provenance();
    let results = AtomicU32::new(0);
    let context = (&raw const results).expose_provenance();
    let ((entered, is_entered), (let_go, until)) = (channel(), channel());
    *NEXT_ADD.lock().unwrap() = Some((entered, until));

    thread::scope(|threads| {
        let opens = threads.spawn(move || {
            // SAFETY: a valid handle, because the other thread waits for this call; the context outlives both threads.
            unsafe { async_socket_open_async(handle(socket), Some(opened), with_exposed_provenance_mut(context)) }
        });
        is_entered.recv_timeout(LIMIT).expect("the socket is being opened");
        let (returned, has_returned) = channel();
        let results = &results;
        threads.spawn(move || {
            // SAFETY: the handle is not used again, except by the open that is under way.
            unsafe { async_socket_destroy(handle(socket)) };
            returned.send(results.load(Ordering::Relaxed)).expect("the test waits for this");
        });
        assert_eq!(has_returned.recv_timeout(WHILE), Err(RecvTimeoutError::Timeout), "destroy waits for the open");
        let_go.send(()).expect("the opening thread waits for this");
        let seen = has_returned.recv_timeout(LIMIT).expect("destroy returns");

        assert_eq!(opens.join().unwrap(), 0);
        assert_eq!(
            seen,
            ASYNC_SOCKET_OPEN_RESULT::ASYNC_SOCKET_OPEN_OK as u32,
            "one callback, before destroy returned"
        );
    });
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "destroy closes the descriptor");
    platform_deinit();
}

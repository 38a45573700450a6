//! Before the platform is started. The test has a binary of its own, because the other tests start the platform.
#![allow(unsafe_code, reason = "calls the C ABI")]

mod common;

use async_socket::{async_socket_create, async_socket_destroy, platform_get_completion_port};
use common::{Platform, pair};
use std::io::Read;
use std::ptr::null_mut;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_005, Tests_SRS_ASYNC_SOCKET_LINUX_11_006
#[test]
fn create_fails_without_the_platform_and_leaves_the_descriptor_to_the_caller() {
    let (descriptor, mut peer) = pair();
    assert!(platform_get_completion_port().is_null());
    // SAFETY: the descriptor is the caller's.
    assert!(unsafe { async_socket_create(null_mut(), descriptor) }.is_null());

    let platform = Platform::start();
    // SAFETY: the descriptor is still the caller's, and is given away now.
    let socket = unsafe { async_socket_create(null_mut(), descriptor) };
    assert!(!socket.is_null());
    drop(platform);
    // SAFETY: the handle is not used again.
    unsafe { async_socket_destroy(socket) };
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

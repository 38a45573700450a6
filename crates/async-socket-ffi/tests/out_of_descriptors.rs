//! The C ABI in a process without descriptors. The test has a binary of its own, because the limit is the process's.

use async_socket::{completion_port_create, platform_deinit, platform_get_completion_port, platform_init};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn without_descriptors_there_is_no_port_and_no_platform_until_there_are_some() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).expect("the limit lowers");
    let (port, started) = (completion_port_create(), platform_init());
    let of_platform = platform_get_completion_port();
    setrlimit(Resource::Nofile, limit).expect("the limit rises");

    assert!(port.is_null());
    assert_ne!(started, 0);
    assert!(of_platform.is_null(), "a start that failed is none");
    assert_eq!(platform_init(), 0, "with descriptors again, the same call works");
    platform_deinit();
}

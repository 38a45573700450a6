//! Metrics, addresses and the log: what the library writes or says must fit, be right, and stay within its place.

use crate::operation::Operation;
use async_socket::*;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::net::SocketAddr;

/// What is in a place before the call.
const UNTOUCHED: u64 = 0xA5A5_A5A5_A5A5_A5A5;

/// Longer than every struct of metrics.
const WORDS: usize = 40;

/// What a call did with a place for metrics.
pub(crate) enum Told<T> {
    Refused,
    /// The place was too small for all of it.
    InPart,
    All(T),
}

/// Calls with a place for metrics of any size. Nothing may be written if the call is refused, and nothing outside the place.
/// What the library does not know must be 0.
pub(crate) fn metrics<T: Copy>(size: u16, call: impl FnOnce(*mut T, usize) -> c_int) -> Told<T> {
    let size = usize::from(size) % (WORDS * 8);
    let mut place = [UNTOUCHED; WORDS];
    let refused = call(place.as_mut_ptr().cast(), size) != 0;
    let bytes: Vec<u8> = place.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let untouched = if refused { 0 } else { size };
    assert!(bytes[untouched..].iter().all(|byte| *byte == 0xA5), "written outside the place");
    if refused {
        return Told::Refused;
    }
    assert!(bytes[size.min(size_of::<T>())..size].iter().all(|byte| *byte == 0), "what is unknown is 0");
    if size < size_of::<T>() {
        return Told::InPart;
    }
    // SAFETY: a struct of numbers, of which every byte was written.
    Told::All(unsafe { place.as_ptr().cast::<T>().read() })
}

/// The two calls that write an address.
pub(crate) type Ask = unsafe extern "C" fn(ASYNC_SOCKET_HANDLE, *mut c_char, usize) -> c_int;

/// Asks for an address. Nothing may be written outside the place, nor if the call is refused.
pub(crate) fn address(ask: Ask, handle: ASYNC_SOCKET_HANDLE, size: u16, no_place: bool) -> Option<String> {
    let size = usize::from(size) % 640;
    let mut place = [0xA5_u8; 640];
    let pointer = if no_place { std::ptr::null_mut() } else { place.as_mut_ptr().cast() };
    // SAFETY: NULL or a valid handle; NULL or room for `size` bytes.
    let refused = unsafe { ask(handle, pointer, size) } != 0;
    let text = (!refused).then(|| CStr::from_bytes_until_nul(&place).expect("the end of the text").to_owned());
    let written = text.as_ref().map_or(0, |text| text.count_bytes() + 1);
    assert!(written <= size && place[written..].iter().all(|byte| *byte == 0xA5), "written outside the place");
    text.map(|text| text.into_string().expect("text"))
}

/// Both addresses of a new TCP connection.
pub(crate) fn check_addresses(handle: ASYNC_SOCKET_HANDLE) {
    let own = address(async_socket_get_local_address, handle, 512, false).expect("512 bytes are enough");
    assert!(own.parse::<SocketAddr>().is_ok(), "{own}");
    // The peer may have reset the connection.
    let peer = address(async_socket_get_peer_address, handle, 512, false);
    assert!(peer.is_none_or(|peer| peer.parse::<SocketAddr>().is_ok()));
}

/// Sets or removes the log of the process. A level that is none is refused.
pub(crate) fn set_log(level: i32, none: bool) {
    let on_log: ON_ASYNC_SOCKET_LOG = if none { None } else { Some(on_log) };
    let right = none || (1..=5).contains(&level);
    // An enum of C, which a program can give any number.
    let mut c_level = MaybeUninit::<ASYNC_SOCKET_LOG_LEVEL>::uninit();
    // SAFETY: the enum has the size of an int.
    unsafe { c_level.as_mut_ptr().cast::<c_int>().write(level) };
    // SAFETY: the context is the number itself.
    let refused = unsafe { async_socket_set_log(on_log, level as isize as *mut c_void, c_level) };
    assert_eq!(refused == 0, right, "level {level}");
}

unsafe extern "C" fn on_log(context: *mut c_void, level: ASYNC_SOCKET_LOG_LEVEL, line: *const c_char) {
    assert!((1..=context as isize as i32).contains(&(level as i32)), "a line of a lower level");
    // SAFETY: NUL-terminated, and valid until this returns.
    let line = unsafe { CStr::from_ptr(line) }.to_str().expect("UTF-8");
    assert!(!line.is_empty() && !line.contains('\n'));
    // SAFETY: without a function, the context and the level say nothing.
    let refused = unsafe { async_socket_set_log(None, std::ptr::null_mut(), MaybeUninit::zeroed()) };
    assert_ne!(refused, 0, "inside the log's function, the log is not changed");
}

/// How many of these have not called back.
pub(crate) fn waiting(operations: &[Box<Operation>]) -> u64 {
    operations.iter().filter(|operation| operation.calls() == 0).count() as u64
}

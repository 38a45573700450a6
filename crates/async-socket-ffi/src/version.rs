//! The library's version, and whether the program's calls reach this library.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;

/// With the NUL that C needs.
pub(crate) const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no NUL"),
};

/// Whether one of these names leads to this library. It looks up several names, because a program that takes a
/// function's address may have an address of its own for the function. In a static program the look-up finds nothing,
/// and there is only one function of each name.
pub(crate) fn is_reached(names: &[&CStr]) -> bool {
    // No other library has this function.
    let here = file_of(is_reached as *const c_void);
    names.iter().any(|name| {
        // SAFETY: a name with its NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        found.is_null() || file_of(found) == here
    })
}

/// The start, in memory, of the program or shared library that contains this address. 0 if none does.
fn file_of(address: *const c_void) -> usize {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address is allowed.
    unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    // SAFETY: every value of the struct's pointers is valid, also NULL.
    unsafe { info.assume_init() }.dli_fbase.addr()
}

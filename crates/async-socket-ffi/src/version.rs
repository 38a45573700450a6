//! Which library this is, and whether it is the one that answers.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;

/// With the NUL that C wants.
pub(crate) const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no NUL"),
};

/// Whether the program reaches this library by one of these names. Several are asked for, because a program that takes a
/// function's address may have an address of its own for it. A static program has no names to ask for, and no second function
/// of a name.
pub(crate) fn is_reached(names: &[&CStr]) -> bool {
    // The name of this function is nobody else's.
    let here = file_of(is_reached as *const c_void);
    names.iter().any(|name| {
        // SAFETY: a name with its NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        found.is_null() || file_of(found) == here
    })
}

/// Where the program or shared library with this address begins in memory; 0 if it is in none.
fn file_of(address: *const c_void) -> usize {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address is allowed.
    unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    // SAFETY: no pointer is a bad one here, not even those that are still NULL.
    unsafe { info.assume_init() }.dli_fbase.addr()
}

//! Allocation that can fail without ending the process.

/// A box, or the value back if there is no memory for one.
///
/// It is a box of an array because `Box::new` ends the process when memory runs out, and a `Vec` can be asked politely.
/// Unsizes to a trait object like any other: implement the trait for `[T; 1]`.
///
/// # Errors
/// The value.
pub fn try_box<T>(value: T) -> Result<Box<[T; 1]>, T> {
    let mut room = Vec::new();
    if room.try_reserve_exact(1).is_err() {
        return Err(value);
    }
    room.push(value);
    match room.into_boxed_slice().try_into() {
        Ok(boxed) => Ok(boxed),
        Err(_) => unreachable!("one was pushed"),
    }
}

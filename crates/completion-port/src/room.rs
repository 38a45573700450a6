//! Boxes and vectors whose allocation can be refused.
#![allow(unsafe_code, reason = "an empty vector goes to another thread, whatever its values would be")]

/// Makes a box, or returns the value if there is no memory for one.
///
/// It is a box of an array because `Box::new` ends the process when memory runs out, while a `Vec` can refuse. To make a
/// trait object of it, implement the trait for `[T; 1]`.
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

/// The number of entries by which a table of this size grows: about a quarter. It does not double, because with many
/// thousands of sources the spare entries are most of the unused memory.
pub(crate) const fn growth(entries: usize) -> usize {
    entries / 4 + 16
}

/// An empty vector with capacity. It holds no value, so it can go to another thread whatever `T` is.
pub(crate) struct Room<T>(Vec<T>);

impl<T> Default for Room<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

// SAFETY: the vector is empty until `into_vec`, so no value of `T` changes its thread.
unsafe impl<T> Send for Room<T> {}

impl<T> Room<T> {
    /// `None` if there is no memory.
    pub(crate) fn try_with_capacity(capacity: usize) -> Option<Self> {
        let mut room = Vec::new();
        room.try_reserve_exact(capacity).ok()?;
        Some(Self(room))
    }

    /// The capacity of a vector, without its values.
    pub(crate) fn emptied(mut values: Vec<T>) -> Self {
        values.clear();
        Self(values)
    }

    pub(crate) fn into_vec(self) -> Vec<T> {
        self.0
    }
}

//! Large lent values, for instance arrays. The socket puts them into a box, because each move of the value itself would
//! need its size on the stack again.
//!
//! Invariant: between the call that lends a large value and the callback that gives it back, the value is moved twice:
//! into the box, and from the box into the completion.

use async_socket_api::{IoBufs, IoBufsMut};
use std::mem;

/// Values of more bytes than this are boxed. Smaller values go into the slot of an earlier operation, without an allocation.
const LARGEST_UNBOXED: usize = 16 * 1024;

// Codes_SRS_SOCKET_01_020
/// Whether values of this type are boxed. This is a constant for the compiler.
pub(crate) const fn is_boxed<B>() -> bool {
    mem::size_of::<B>() > LARGEST_UNBOXED
}

/// A large value on its way.
pub(crate) struct Lent<B>(Box<[B; 1]>);

impl<B> Lent<B> {
    #[inline(always)]
    pub(crate) fn into_inner(self) -> B {
        let [value] = *self.0;
        value
    }
}

/// Room for a large value.
pub(crate) struct Room<B>(Vec<B>);

impl<B> Room<B> {
    /// `None` if there is no memory.
    // Codes_SRS_SOCKET_01_050
    pub(crate) fn new() -> Option<Self> {
        let mut room = Vec::new();
        room.try_reserve_exact(1).ok()?;
        Some(Self(room))
    }

    #[inline(always)]
    pub(crate) fn fill(mut self, value: B) -> Lent<B> {
        self.0.push(value);
        match self.0.into_boxed_slice().try_into() {
            Ok(boxed) => Lent(boxed),
            Err(_) => unreachable!("one was pushed"),
        }
    }
}

impl<B: IoBufs> IoBufs for Lent<B> {
    fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        self.0[0].slices_from(first)
    }
}

impl<B: IoBufsMut> IoBufsMut for Lent<B> {
    fn slices_mut_from(&mut self, first: usize) -> impl Iterator<Item = &mut [u8]> {
        self.0[0].slices_mut_from(first)
    }
}

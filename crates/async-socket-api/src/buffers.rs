//! Buffers that are lent to a socket, and lists of them.
//!
//! Invariant: nothing here is `unsafe`. A socket asks a buffer for its slice each time it is about to touch the bytes. So a
//! buffer may move in memory while it is lent, and a wrong implementation can garble its own data but never memory.

use crate::{Refused, Slice, SliceError};
use sealed::OnlyThisCrate;
use std::ops::RangeBounds;
use std::sync::Arc;

pub(crate) mod sealed {
    /// An argument that no other crate can name.
    #[derive(Debug)]
    pub struct OnlyThisCrate;
}

/// A buffer to send from.
///
/// It is moved into the socket for as long as the operation lasts. It comes back in the callback, or in the error if
/// the call was refused.
///
/// An implementation returns the same bytes on every call while the buffer is lent, and does not call the socket.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer that can be lent to a socket to send from",
    label = "this cannot be lent to send from",
    note = "a socket takes a buffer by value, because it keeps the buffer until the callback gives it back: lend `vec`, not `&vec`, and `slice.to_vec()` in place of a borrowed slice",
    note = "buffers to send from: `Vec<u8>`, `Box<[u8]>`, `[u8; N]`, `Box<[u8; N]>`, `Arc<[u8]>`, `Arc<Vec<u8>>`, `&'static [u8]`, `&'static str`, `String`, `Slice` of any of them; `Bytes` and `BytesMut` with the feature `bytes`"
)]
pub trait IoBuf: Send + 'static {
    /// The bytes to send.
    fn as_slice(&self) -> &[u8];

    /// A range of this buffer as a buffer of its own, to send from or to receive into. Nothing is copied.
    /// [`Slice::into_inner`] gives the buffer back.
    ///
    /// A type with a method of this name keeps its own: `Bytes::slice` gives `Bytes`.
    ///
    /// # Errors
    /// [`SliceError`] and the buffer, if the range does not lie within it.
    fn slice(self, range: impl RangeBounds<usize>) -> Result<Slice<Self>, Refused<Self, SliceError>>
    where
        Self: Sized,
    {
        let length = self.as_slice().len();
        Slice::within(self, &range, length)
    }
}

/// A buffer to receive into.
///
/// A receive fills the initialised bytes from the front and never changes the length: lend
/// `vec![0; 4096]`, not `Vec::with_capacity(4096)`, exactly as with [`std::io::Read::read`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer that can be lent to a socket to receive into",
    label = "this cannot be lent to receive into",
    note = "a socket takes a buffer by value, because it keeps the buffer until the callback gives it back: lend `vec![0; 4096]`, not `&mut vec` or `&mut [u8]`",
    note = "buffers to receive into: `Vec<u8>`, `Box<[u8]>`, `[u8; N]`, `Box<[u8; N]>`, `Slice` of any of them; `BytesMut` with the feature `bytes`",
    note = "for text, receive bytes and convert them with `String::from_utf8`; shared bytes (`Arc`, `&'static`) cannot be received into"
)]
pub trait IoBufMut: Send + 'static {
    /// The bytes that a receive may overwrite.
    fn as_mut_slice(&mut self) -> &mut [u8];

    /// [`IoBuf::slice`] for a buffer that can only be received into.
    ///
    /// # Errors
    /// [`SliceError`] and the buffer, if the range does not lie within it.
    fn slice_mut(mut self, range: impl RangeBounds<usize>) -> Result<Slice<Self>, Refused<Self, SliceError>>
    where
        Self: Sized,
    {
        let length = self.as_mut_slice().len();
        Slice::within(self, &range, length)
    }
}

/// One buffer or a list of buffers to send from, in order.
///
/// Every [`IoBuf`] is a list of one. `Vec`s and arrays of buffers are longer lists. All buffers of a list have one
/// type. An enum that implements [`IoBuf`] makes one type of several.
///
/// A list has the same buffers with the same lengths as long as it is lent. A socket does not rely on that. If a list
/// shows other lengths than when it was accepted, the operation ends in an error. If a list panics after a part of it
/// was sent, the stream is broken. An implementation cannot vouch for its own length:
/// ```compile_fail,E0050
/// struct Boasting;
///
/// impl async_socket_api::IoBufs for Boasting {
///     fn slices_from(&self, _: usize) -> impl Iterator<Item = &[u8]> {
///         std::iter::empty()
///     }
///     fn checked_length(&self) -> Option<u32> {
///         Some(1)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a buffer nor a list of buffers that can be lent to a socket to send from",
    label = "this cannot be lent to send from",
    note = "a socket takes buffers by value, because it keeps them until the callback gives them back: lend `vec`, not `&vec`, and `slice.to_vec()` in place of a borrowed slice",
    note = "buffers to send from: `Vec<u8>`, `Box<[u8]>`, `[u8; N]`, `Box<[u8; N]>`, `Arc<[u8]>`, `Arc<Vec<u8>>`, `&'static [u8]`, `&'static str`, `String`, `Slice` of any of them; `Bytes` and `BytesMut` with the feature `bytes`",
    note = "several buffers are a `Vec` or an array of buffers of one type, not a tuple: `[head, body]`; an enum that implements `IoBuf` makes one type of several"
)]
pub trait IoBufs: Send + 'static {
    /// The buffers from the one with index `first` on.
    fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]>;

    /// The sum of all lengths, if this crate checked the list when it was made. No other crate can name the argument,
    /// so no other implementation can vouch for itself.
    // Codes_SRS_SOCKET_01_040
    #[doc(hidden)]
    fn checked_length(&self, _: OnlyThisCrate) -> Option<u32> {
        None
    }
}

/// One buffer or a list of buffers to receive into, in order.
///
/// Every [`IoBufMut`] is a list of one. `Vec`s and arrays of buffers are longer lists.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a buffer nor a list of buffers that can be lent to a socket to receive into",
    label = "this cannot be lent to receive into",
    note = "a socket takes buffers by value, because it keeps them until the callback gives them back: lend `vec![0; 4096]`, not `&mut vec` or `&mut [u8]`",
    note = "buffers to receive into: `Vec<u8>`, `Box<[u8]>`, `[u8; N]`, `Box<[u8; N]>`, `Slice` of any of them; `BytesMut` with the feature `bytes`",
    note = "several buffers are a `Vec` or an array of buffers of one type, not a tuple: `[head, body]`",
    note = "for text, receive bytes and convert them with `String::from_utf8`; shared bytes (`Arc`, `&'static`) cannot be received into"
)]
pub trait IoBufsMut: Send + 'static {
    /// The buffers from the one with index `first` on.
    fn slices_mut_from(&mut self, first: usize) -> impl Iterator<Item = &mut [u8]>;

    /// See [`IoBufs::checked_length`].
    #[doc(hidden)]
    fn checked_length(&self, _: OnlyThisCrate) -> Option<u32> {
        None
    }
}

macro_rules! impl_io_buf {
    ($($({$($generics:tt)*})? $buffer:ty: $($which:ident)*;)*) => {$(
        impl_io_buf!(@ $({$($generics)*})? $buffer: $($which)*);
    )*};
    (@ $({$($generics:tt)*})? $buffer:ty: send) => {
        impl $(<$($generics)*>)? IoBuf for $buffer {
            fn as_slice(&self) -> &[u8] { &self[..] }
        }
    };
    (@ $({$($generics:tt)*})? $buffer:ty: send receive) => {
        impl_io_buf!(@ $({$($generics)*})? $buffer: send);
        impl $(<$($generics)*>)? IoBufMut for $buffer {
            fn as_mut_slice(&mut self) -> &mut [u8] { &mut self[..] }
        }
    };
}

impl_io_buf! {
    Vec<u8>: send receive;
    Box<[u8]>: send receive;
    {const N: usize} [u8; N]: send receive;
    {const N: usize} Box<[u8; N]>: send receive;
    Arc<[u8]>: send;
    Arc<Vec<u8>>: send;
    &'static [u8]: send;
    {const N: usize} &'static [u8; N]: send;
}

impl IoBuf for &'static str {
    fn as_slice(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl IoBuf for String {
    fn as_slice(&self) -> &[u8] {
        self.as_bytes()
    }
}

#[cfg(feature = "bytes")]
impl_io_buf! {
    bytes::Bytes: send;
    bytes::BytesMut: send receive;
}

impl<B: IoBuf> IoBufs for B {
    fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        (first == 0).then(|| self.as_slice()).into_iter()
    }
}

impl<B: IoBufMut> IoBufsMut for B {
    fn slices_mut_from(&mut self, first: usize) -> impl Iterator<Item = &mut [u8]> {
        (first == 0).then(|| self.as_mut_slice()).into_iter()
    }
}

macro_rules! impl_list {
    ($({$($generics:tt)*} $list:ty;)*) => {$(
        impl<B: IoBuf, $($generics)*> IoBufs for $list {
            fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
                self.get(first..).unwrap_or_default().iter().map(B::as_slice)
            }
        }
        impl<B: IoBufMut, $($generics)*> IoBufsMut for $list {
            fn slices_mut_from(&mut self, first: usize) -> impl Iterator<Item = &mut [u8]> {
                self.get_mut(first..).unwrap_or_default().iter_mut().map(B::as_mut_slice)
            }
        }
    )*};
}

impl_list! {
    {} Vec<B>;
    {const N: usize} [B; N];
}

//! Moving a payload's bytes: which system call, over which buffers, from where.
//!
//! One buffer goes through plain `send` and `recv`, several through `sendmsg` and `recvmsg`, more than the
//! kernel takes at once through several of those. Nothing is copied or allocated.

use crate::sys::{Errno, MAX_BUFFERS_PER_CALL, MAX_BYTES_PER_CALL, RECEIVE_FLAGS, SEND_FLAGS, SocketSyscalls};
use arrayvec::ArrayVec;
use async_socket_api::{IoBufs, IoBufsMut, Payload};
use completion_port::sys::retry_interrupted;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

/// How many buffers fit into the small array; for more, one of [`MAX_BUFFERS_PER_CALL`] is set up.
const FEW_BUFFERS: usize = 16;

/// How far a payload has been sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    /// The first buffer that is not sent whole.
    index: usize,
    /// How much of it is sent.
    offset: usize,
    /// How much is sent altogether.
    pub(crate) bytes: u32,
}

/// What one attempt to send came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The whole payload is with the kernel.
    All,
    /// A part of what was left.
    Some,
    /// The kernel takes no more for now.
    Blocked,
    Failed(Errno),
}

/// Makes one call to send what is left.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_096
pub(crate) fn send_some<S: SocketSyscalls, B: IoBufs>(
    sys: &S,
    fd: BorrowedFd<'_>,
    payload: &Payload<B>,
    cursor: &mut Cursor,
) -> Sent {
    let sent = send_once(sys, fd, payload, *cursor);
    cursor.note(payload, sent)
}

/// Makes one call to send a payload from a cursor on. How many bytes went.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_052
#[inline(always)]
pub(crate) fn send_once<S: SocketSyscalls, B: IoBufs>(
    sys: &S,
    fd: BorrowedFd<'_>,
    payload: &Payload<B>,
    cursor: Cursor,
) -> Result<usize, Errno> {
    let mut slices = payload.buffers().slices_from(cursor.index);
    let first = slices.next().and_then(|slice| slice.get(cursor.offset..)).unwrap_or_default();
    match (slices.next(), slices.size_hint().0) {
        (None, _) => retry_interrupted(|| sys.send(fd, first, SEND_FLAGS)),
        (Some(second), more) if more + 2 <= FEW_BUFFERS => {
            send_vectored::<FEW_BUFFERS, S>(sys, fd, [first, second].into_iter().chain(slices))
        }
        (Some(second), _) => {
            send_vectored::<MAX_BUFFERS_PER_CALL, S>(sys, fd, [first, second].into_iter().chain(slices))
        }
    }
}

/// Sends until everything is sent or the kernel takes no more, after a first call that came to `sent`.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_053
#[cold]
pub(crate) fn send_rest<S: SocketSyscalls, B: IoBufs>(
    sys: &S,
    fd: BorrowedFd<'_>,
    payload: &Payload<B>,
    cursor: &mut Cursor,
    sent: Result<usize, Errno>,
) -> Sent {
    let mut sent = cursor.note(payload, sent);
    while sent == Sent::Some {
        sent = send_some(sys, fd, payload, cursor);
    }
    sent
}

#[inline(never)]
fn send_vectored<'a, const N: usize, S: SocketSyscalls>(
    sys: &S,
    fd: BorrowedFd<'_>,
    slices: impl Iterator<Item = &'a [u8]>,
) -> Result<usize, Errno> {
    let array: ArrayVec<IoSlice<'a>, N> = slices.take(N).map(IoSlice::new).collect();
    retry_interrupted(|| sys.sendmsg(fd, &array, SEND_FLAGS))
}

impl Cursor {
    /// Moves by what one call came to.
    fn note<B: IoBufs>(&mut self, payload: &Payload<B>, sent: Result<usize, Errno>) -> Sent {
        let rest = payload.total_length() - self.bytes;
        match sent {
            Ok(bytes) if bytes == rest as usize => {
                self.bytes = payload.total_length();
                Sent::All
            }
            Ok(0) | Err(Errno::AGAIN) => Sent::Blocked,
            Ok(bytes) => {
                self.advance(payload.buffers(), bytes);
                Sent::Some
            }
            Err(errno) => Sent::Failed(errno),
        }
    }

    #[cold]
    fn advance<B: IoBufs>(&mut self, buffers: &B, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.offset += bytes;
        for slice in buffers.slices_from(self.index) {
            if self.offset < slice.len() {
                break;
            }
            self.offset -= slice.len();
            self.index += 1;
        }
    }
}

/// What a read that gets fewer bytes than it had room for says about the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ShortRead {
    /// There is no more for now: TCP.
    NoMore = 0,
    /// There is no more for now, unless descriptors came along: a Unix stream socket.
    NoMoreUnlessDescriptors = 1,
    Nothing = 2,
}

/// What one attempt to receive came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes arrived.
    Bytes {
        bytes: u32,
        /// The kernel had less than there was room for, and nothing that we know of held it back.
        short: bool,
        /// An error that came after them, which the kernel will not tell again.
        late_error: Option<Errno>,
    },
    /// Nothing is there yet.
    Blocked,
    /// The peer sends no more.
    End,
    Failed(Errno),
}

/// Fills the buffers with what is there.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_083
#[inline]
pub(crate) fn receive<S: SocketSyscalls, B: IoBufsMut>(sys: &S, fd: BorrowedFd<'_>, buffers: &mut B) -> Received {
    let mut slices = buffers.slices_mut_from(0);
    let first = slices.next().unwrap_or_default();
    match (slices.next(), slices.size_hint().0) {
        (None, _) => receive_into(sys, fd, first),
        (Some(second), more) if more + 2 <= FEW_BUFFERS => {
            let slices = [first, second].into_iter().chain(slices);
            receive_vectored::<FEW_BUFFERS, S>(sys, fd, slices)
        }
        (Some(second), _) => {
            let slices = [first, second].into_iter().chain(slices);
            receive_vectored::<MAX_BUFFERS_PER_CALL, S>(sys, fd, slices)
        }
    }
}

/// Fills one buffer with what is there.
#[inline]
pub(crate) fn receive_into<S: SocketSyscalls>(sys: &S, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Received {
    let room = buffer.len().min(MAX_BYTES_PER_CALL);
    received(retry_interrupted(|| sys.recv(fd, buffer, RECEIVE_FLAGS)), room)
}

/// The same from a socket whose reads stop at descriptors: short only if none came along. That is asked about one buffer
/// only.
pub(crate) fn receive_beside_descriptors<S: SocketSyscalls, B: IoBufsMut>(
    sys: &S,
    fd: BorrowedFd<'_>,
    buffers: &mut B,
) -> Received {
    let mut slices = buffers.slices_mut_from(0);
    let first = slices.next().unwrap_or_default();
    if slices.next().is_none() {
        return receive_into_beside_descriptors(sys, fd, first);
    }
    drop(slices);
    match receive(sys, fd, buffers) {
        Received::Bytes { bytes, late_error, .. } => Received::Bytes { bytes, short: false, late_error },
        nothing => nothing,
    }
}

pub(crate) fn receive_into_beside_descriptors<S: SocketSyscalls>(
    sys: &S,
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Received {
    let room = buffer.len().min(MAX_BYTES_PER_CALL);
    match retry_interrupted(|| sys.recv_beside_descriptors(fd, buffer, RECEIVE_FLAGS)) {
        Ok((bytes, came_along)) => received(Ok(bytes), if came_along { 0 } else { room }),
        Err(errno) => received(Err(errno), room),
    }
}

/// Goes on to the next `N` buffers for as long as the last ones were filled to the brim.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_092
#[inline(never)]
fn receive_vectored<'a, const N: usize, S: SocketSyscalls>(
    sys: &S,
    fd: BorrowedFd<'_>,
    mut slices: impl Iterator<Item = &'a mut [u8]>,
) -> Received {
    let mut total = 0_u32;
    loop {
        let mut array: ArrayVec<IoSliceMut<'a>, N> = slices.by_ref().take(N).map(IoSliceMut::new).collect();
        if array.is_empty() {
            return Received::Bytes { bytes: total, short: false, late_error: None };
        }
        let room = array.iter().map(|slice| slice.len()).sum::<usize>().min(MAX_BYTES_PER_CALL);
        match received(retry_interrupted(|| sys.recvmsg(fd, &mut array, RECEIVE_FLAGS)), room) {
            Received::Bytes { bytes, short, .. } => {
                total = total.saturating_add(bytes);
                if short || bytes as usize == MAX_BYTES_PER_CALL {
                    return Received::Bytes { bytes: total, short, late_error: None };
                }
            }
            nothing if total == 0 => return nothing,
            // What arrived counts; the end or the error shows on the next receive.
            Received::Failed(errno) => {
                return Received::Bytes { bytes: total, short: false, late_error: Some(errno) };
            }
            Received::Blocked | Received::End => {
                return Received::Bytes { bytes: total, short: false, late_error: None };
            }
        }
    }
}

fn received(result: Result<usize, Errno>, room: usize) -> Received {
    match result {
        Ok(0) => Received::End,
        Ok(bytes) => {
            let short = bytes < room;
            // At most `MAX_BYTES_PER_CALL`.
            Received::Bytes { bytes: bytes as u32, short, late_error: None }
        }
        Err(Errno::AGAIN) => Received::Blocked,
        Err(errno) => Received::Failed(errno),
    }
}

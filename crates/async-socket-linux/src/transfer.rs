//! How the bytes of a payload are moved: the system call, the buffers, and the byte to start from.
//!
//! One buffer goes through `send` and `recv`, several go through `sendmsg` and `recvmsg`. If there are more than the
//! kernel takes at once, several such calls are made. One buffer of a Unix stream is received by `recvmsg` too, because
//! it reports passed descriptors. Nothing is copied or allocated.

use crate::sys::{Errno, MAX_BUFFERS_PER_CALL, MAX_BYTES_PER_CALL, RECEIVE_FLAGS, SEND_FLAGS, SocketSyscalls};
use arrayvec::ArrayVec;
use async_socket_api::{IoBufs, IoBufsMut, Payload};
use completion_port::sys::retry_interrupted;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

/// The number of buffers that fit into the small array. For more, an array of [`MAX_BUFFERS_PER_CALL`] is set up.
const FEW_BUFFERS: usize = 16;

/// How far a payload has been sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    /// The index of the first buffer that is not wholly sent.
    index: usize,
    /// How much of it is sent.
    offset: usize,
    /// How much is sent altogether.
    pub(crate) bytes: u32,
}

/// The outcome of one attempt to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The whole payload is with the kernel.
    All,
    /// A part of what was left.
    Some,
    /// The kernel takes no more for now.
    Blocked,
    Failed(Fault),
}

/// Why bytes cannot be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What the kernel says.
    Os(Errno),
    /// The buffers show other lengths than when they were checked.
    BuffersChanged,
}

/// Makes one call to send what is left.
pub(crate) fn send_some<S: SocketSyscalls, B: IoBufs>(
    sys: &S,
    fd: BorrowedFd<'_>,
    payload: &Payload<B>,
    cursor: &mut Cursor,
) -> Sent {
    let sent = send_once(sys, fd, payload, *cursor);
    cursor.note(payload, sent)
}

/// Makes one call to send a payload from a cursor on. Returns how many bytes went out.
///
/// The call gets the buffers' bytes anew, and safe code may return anything. The bytes are sent only if they are as
/// long as the rest of the payload. An empty call would wait for ever, and a longer one would send more than was
/// accepted.
#[inline(always)]
pub(crate) fn send_once<S: SocketSyscalls, B: IoBufs>(
    sys: &S,
    fd: BorrowedFd<'_>,
    payload: &Payload<B>,
    cursor: Cursor,
) -> Result<usize, Fault> {
    let rest = payload.total_length().saturating_sub(cursor.bytes) as usize;
    let mut slices = payload.buffers().slices_from(cursor.index);
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_096
    let first = slices.next().and_then(|slice| slice.get(cursor.offset..)).unwrap_or_default();
    match (slices.next(), slices.size_hint().0) {
        // Codes_SRS_SOCKET_01_041
        (None, _) if first.len() != rest => Err(Fault::BuffersChanged),
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_052
        (None, _) => retry_interrupted(|| sys.send(fd, first, SEND_FLAGS)).map_err(Fault::Os),
        (Some(second), more) if more <= FEW_BUFFERS - 2 => {
            send_vectored::<FEW_BUFFERS, S>(sys, fd, [first, second].into_iter().chain(slices), rest)
        }
        (Some(second), _) => {
            send_vectored::<MAX_BUFFERS_PER_CALL, S>(sys, fd, [first, second].into_iter().chain(slices), rest)
        }
    }
}

/// Continues after a first call with the outcome `sent`, until everything is sent or the kernel takes no more.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_053
#[cold]
pub(crate) fn send_rest<S: SocketSyscalls, B: IoBufs>(
    sys: &S,
    fd: BorrowedFd<'_>,
    payload: &Payload<B>,
    cursor: &mut Cursor,
    sent: Result<usize, Fault>,
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
    rest: usize,
) -> Result<usize, Fault> {
    let array: ArrayVec<IoSlice<'a>, N> = slices.take(N).map(IoSlice::new).collect();
    let length = array.iter().fold(0_usize, |length, slice| length.saturating_add(slice.len()));
    // If the array is full, the list may be longer than the array.
    let fits = if array.is_full() { (1..=rest).contains(&length) } else { length == rest };
    // Codes_SRS_SOCKET_01_041
    if !fits {
        return Err(Fault::BuffersChanged);
    }
    retry_interrupted(|| sys.sendmsg(fd, &array, SEND_FLAGS)).map_err(Fault::Os)
}

impl Cursor {
    /// Moves by what one call sent.
    fn note<B: IoBufs>(&mut self, payload: &Payload<B>, sent: Result<usize, Fault>) -> Sent {
        let rest = payload.total_length() - self.bytes;
        match sent {
            Ok(bytes) if bytes == rest as usize => {
                self.bytes = payload.total_length();
                Sent::All
            }
            Ok(0) | Err(Fault::Os(Errno::AGAIN)) => Sent::Blocked,
            Ok(bytes) => {
                self.advance(payload.buffers(), bytes);
                Sent::Some
            }
            Err(fault) => Sent::Failed(fault),
        }
    }

    #[cold]
    fn advance<B: IoBufs>(&mut self, buffers: &B, bytes: usize) {
        // Counts the bytes first, because they have gone out and a buffer may panic below.
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_096
        self.offset += bytes;
        for slice in buffers.slices_from(self.index) {
            // No slice was empty when the list was checked. If one is now, `send_once` notices that too little is left.
            if self.offset < slice.len() || slice.is_empty() {
                break;
            }
            self.offset -= slice.len();
            self.index += 1;
        }
    }
}

/// The meaning of a short read, which is a read that gets fewer bytes than it had room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ShortRead {
    /// TCP: there is no more for now.
    Drained = 0,
    /// A Unix stream: there is no more for now, unless descriptors came along.
    DrainedUnlessFdsPassed = 1,
    /// Any other stream: the read may have stopped at a record, for instance.
    ProvesNothing = 2,
}

/// The outcome of one attempt to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes arrived.
    Bytes {
        bytes: u32,
        /// Whether the read was short without a reported reason, such as passed descriptors.
        short: bool,
        /// An error that came after the bytes. The kernel reports it only once.
        late_error: Option<Errno>,
    },
    /// No bytes are there yet.
    Blocked,
    /// The peer sends no more.
    End,
    Failed(Fault),
}

/// Fills the buffers with the bytes that are there.
#[inline]
pub(crate) fn receive<S: SocketSyscalls, B: IoBufsMut>(sys: &S, fd: BorrowedFd<'_>, buffers: &mut B) -> Received {
    let mut slices = buffers.slices_mut_from(0);
    let first = slices.next().unwrap_or_default();
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_083
    match (slices.next(), slices.size_hint().0) {
        (None, _) => receive_into(sys, fd, first),
        (Some(second), more) if more <= FEW_BUFFERS - 2 => {
            let slices = [first, second].into_iter().chain(slices);
            receive_vectored::<FEW_BUFFERS, S>(sys, fd, slices)
        }
        (Some(second), _) => {
            let slices = [first, second].into_iter().chain(slices);
            receive_vectored::<MAX_BUFFERS_PER_CALL, S>(sys, fd, slices)
        }
    }
}

/// Fills one buffer with the bytes that are there.
#[inline]
pub(crate) fn receive_into<S: SocketSyscalls>(sys: &S, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Received {
    let room = buffer.len().min(MAX_BYTES_PER_CALL);
    received(retry_interrupted(|| sys.recv(fd, buffer, RECEIVE_FLAGS)), room)
}

/// [`receive`] from a socket whose reads stop at passed descriptors. With one buffer, a read counts as short only if no
/// descriptors came along. With several buffers no read counts as short, because the kernel is not asked for
/// descriptors.
pub(crate) fn receive_noting_scm_rights<S: SocketSyscalls, B: IoBufsMut>(
    sys: &S,
    fd: BorrowedFd<'_>,
    buffers: &mut B,
) -> Received {
    let mut slices = buffers.slices_mut_from(0);
    let first = slices.next().unwrap_or_default();
    if slices.next().is_none() {
        return receive_into_noting_scm_rights(sys, fd, first);
    }
    drop(slices);
    match receive(sys, fd, buffers) {
        Received::Bytes { bytes, late_error, .. } => Received::Bytes { bytes, short: false, late_error },
        nothing => nothing,
    }
}

pub(crate) fn receive_into_noting_scm_rights<S: SocketSyscalls>(
    sys: &S,
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Received {
    let room = buffer.len().min(MAX_BYTES_PER_CALL);
    match retry_interrupted(|| sys.recv_noting_scm_rights(fd, buffer, RECEIVE_FLAGS)) {
        Ok((bytes, came_along)) => match received(Ok(bytes), room) {
            Received::Bytes { bytes, short, late_error } => {
                Received::Bytes { bytes, short: short && !came_along, late_error }
            }
            nothing => nothing,
        },
        Err(errno) => received(Err(errno), room),
    }
}

/// Fills `N` buffers at a time, and goes on to the next as long as all were filled.
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
                // Codes_SRS_SOCKET_01_032
                if short || bytes as usize >= MAX_BYTES_PER_CALL {
                    return Received::Bytes { bytes: total, short, late_error: None };
                }
            }
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_092
            nothing if total == 0 => return nothing,
            // Bytes have arrived, so the receive is done. The next receive reports the end or the error.
            Received::Failed(Fault::Os(errno)) => {
                return Received::Bytes { bytes: total, short: false, late_error: Some(errno) };
            }
            Received::Failed(Fault::BuffersChanged) | Received::Blocked | Received::End => {
                return Received::Bytes { bytes: total, short: false, late_error: None };
            }
        }
    }
}

fn received(result: Result<usize, Errno>, room: usize) -> Received {
    match result {
        // Every buffer had room when the list was checked. If this one has none now, 0 bytes are no end of the stream.
        // Codes_SRS_SOCKET_01_042
        Ok(0) if room == 0 => Received::Failed(Fault::BuffersChanged),
        Ok(0) => Received::End,
        Ok(bytes) => {
            let short = bytes < room;
            // Less than 2 GiB, see `MAX_BYTES_PER_CALL`.
            Received::Bytes { bytes: bytes as u32, short, late_error: None }
        }
        Err(Errno::AGAIN) => Received::Blocked,
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_088
        Err(errno) => Received::Failed(Fault::Os(errno)),
    }
}

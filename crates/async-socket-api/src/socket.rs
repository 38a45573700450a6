//! The trait: what every asynchronous socket promises.

use crate::{
    IoBufs, IoBufsMut, OpenError, OpenResult, ReceiveCompletion, ReceiveError, Refused, SendCompletion, SendError,
};

/// A connected socket with the completion model: lend buffers and a call-back, get called when the
/// work is done.
///
/// # What every implementation promises
/// * **Exactly once.** A call that returns `Ok` has its call-back run exactly once; a call that
///   returns `Err` never, and it changed nothing (but see [`SendError`] for bytes already sent).
/// * **Buffers come back**, in the call-back or in the error, whatever happened.
/// * **Order.** Sends reach the peer in the order they were accepted, each payload in one piece,
///   whichever threads they come from. Receives are filled in the order they were accepted.
/// * **Threads.** Everything can be called from any thread at any time, also from inside any
///   call-back of the same socket. Dropping the socket closes it.
/// * **Call-backs** must not block for long: they hold up the thread that runs them, and every
///   other socket on it. One that panics is caught and logged; the socket lives on.
///
/// The trait is generic over what is lent, and therefore not `dyn`-compatible; wrap it in an enum
/// or in a trait of your own to choose an implementation at run time.
pub trait AsyncSocket: Send + Sync {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`OpenError`]; the call-back then never runs.
    fn open_async<F>(&self, on_open_complete: F) -> Result<(), OpenError>
    where
        F: FnOnce(OpenResult) + Send + 'static;

    /// Closes the socket: abandons what is pending, waits for what runs on other threads, and
    /// returns when no call-back of this socket will run any more. Does nothing unless the socket
    /// is open. From inside a call-back of this socket it does not wait for that call-back.
    ///
    /// Two call-backs on different threads that close each other's sockets wait for each other for
    /// ever: keep such pairs on one thread, or leave the closing to a third.
    fn close(&self);

    /// Sends buffers in order as one payload.
    ///
    /// The call-back runs when the kernel has taken every byte, or the send failed: possibly
    /// before this call returns, on the calling thread.
    ///
    /// # Errors
    /// [`SendError`] and the buffers; the call-back then never runs.
    fn send_async<B, F>(&self, buffers: B, on_send_complete: F) -> Result<(), Refused<B, SendError>>
    where
        B: IoBufs,
        F: FnOnce(SendCompletion<B>) + Send + 'static;

    /// Receives at least one byte into buffers, in order, and as many as have arrived.
    ///
    /// The call-back never runs before this call has done its work, and always on another stack.
    ///
    /// # Errors
    /// [`ReceiveError`] and the buffers; the call-back then never runs.
    fn receive_async<B, F>(&self, buffers: B, on_receive_complete: F) -> Result<(), Refused<B, ReceiveError>>
    where
        B: IoBufsMut,
        F: FnOnce(ReceiveCompletion<B>) + Send + 'static;
}

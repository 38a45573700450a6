//! The trait: what every asynchronous socket promises.

use crate::{
    Cancel, IoBufs, IoBufsMut, OpenError, OpenResult, ReceiveCompletion, ReceiveError, Refused, SendCompletion,
    SendError,
};
use std::fmt::Debug;

/// A connected socket with the completion model: lend buffers and a callback, and get called when the work is done.
///
/// # What every implementation promises
/// * **Exactly once.** If a call returns `Ok`, its callback runs exactly once. If it returns `Err`, the callback never runs
///   and nothing has changed, except that a part of a payload may have been sent, see [`SendError`].
/// * **Buffers come back**, in the callback or in the error, whatever happened.
/// * **Order.** Sends reach the peer in the order they were accepted, each payload in one piece,
///   whichever threads they come from. Receives are filled in the order they were accepted.
/// * **Any thread.** Everything can be called from any thread at any time, also inside any callback of the same socket.
///   Dropping the socket closes it.
/// * **Panics.** A panic of a callback is caught and logged, and the socket lives on.
///
/// # On which thread a callback runs
/// An implementation completes operations on a thread of its own, called the *port thread* here. Several sockets usually
/// share one port thread. Callbacks run there, or inside a call of the program:
///
/// | Callback | Runs |
/// |---|---|
/// | of an open | on the caller's thread, inside [`open_async`](Self::open_async) |
/// | of a send that is done at once | on the caller's thread, inside [`send_async`](Self::send_async) |
/// | of a send that had to wait | on the port thread |
/// | of a receive | on the port thread, never inside [`receive_async`](Self::receive_async) |
/// | of anything that [`close`](Self::close) or the drop abandons | on the thread that closes or drops, inside that call |
/// | of anything that [`cancel`](Self::cancel) ends | on the thread that cancels, inside that call |
///
/// A callback must not block for long, because it holds up the thread that runs it. On the port thread it holds up every
/// socket of the port.
///
/// # Which callbacks overlap
/// * The port thread runs one callback at a time. So callbacks of receives do not overlap, and come in order.
/// * A callback inside `send_async` may run at the same time as a callback of the same socket on the port thread, or
///   inside another thread's `send_async`. The bytes of the two sends are in order, but their callbacks may begin and
///   end in the other order.
/// * The callback of an open may run at the same time as others, since the socket is open by then.
/// * `close` first waits for the callbacks on other threads and then runs the abandoned ones, oldest first, one at a
///   time. Inside a callback, these run before that callback goes on.
///
/// # Which locks not to hold
/// Hold no lock that a callback takes while calling `open_async`, `send_async`, `cancel`, `close` or the drop: they may run
/// that callback before they return, on the same thread. `close` and the drop also wait for callbacks on other threads. All
/// methods take `&self`, so keep the socket beside the lock rather than inside it.
///
/// # What keeps the socket alive
/// A pending operation keeps the values that its callback has captured. A receive whose callback holds an
/// [`Arc`](std::sync::Arc) of its own socket therefore keeps the socket open for as long as the peer sends nothing,
/// even if that was the last reference elsewhere. To end such a socket call `close`, which completes the receive. Or
/// capture a [`Weak`](std::sync::Weak) and hold the `Arc` where the connection ends:
///
/// ```
/// use async_socket_api::AsyncSocket;
/// use std::sync::{Arc, Weak};
///
/// fn receive(socket: &Arc<impl AsyncSocket + 'static>, buffer: Vec<u8>) {
///     let weak = Arc::downgrade(socket);
///     let _ = socket.receive_async(buffer, move |completion| {
///         if let (Some(socket), Ok(1..)) = (Weak::upgrade(&weak), completion.io_result()) {
///             println!("{} bytes", completion.received().len());
///             receive(&socket, completion.buffers);
///         }
///     });
/// }
/// ```
///
/// # How much stack a callback has
/// On the port thread a callback has nearly all of that thread's stack. Inside a call it has the rest of the caller's
/// stack. Chains of sends and receives do not nest: inside a callback that `send_async` runs, further sends are queued
/// for the port thread, and a receive never calls back inside the call. A callback that closes, drops or opens a socket
/// runs that socket's callbacks on top of its own stack frames.
///
/// # Choosing an implementation at run time
/// The trait is generic over what is lent, and therefore not `dyn`-compatible. Wrap the implementations in an enum, or in a
/// trait of your own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an asynchronous socket",
    label = "the trait `AsyncSocket` is not implemented for this",
    note = "`async-socket-linux` makes one of a connected socket of the standard library: `AsyncSocketLinux::create(None, stream.into())`",
    note = "`Arc` and references do not implement the trait: pass `&*socket`"
)]
pub trait AsyncSocket: Send + Sync {
    /// Names an accepted operation, for [`cancel`](Self::cancel). No other operation of the socket ever has the same name.
    type OperationId: Copy + Eq + Debug + Send + Sync + 'static;

    /// Opens the socket. The callback runs before this call returns, on the calling thread.
    ///
    /// # Errors
    /// [`OpenError`]; the callback then never runs.
    fn open_async<F>(&self, on_open_complete: F) -> Result<(), OpenError>
    where
        F: FnOnce(OpenResult) + Send + 'static;

    /// Closes the socket: waits for its callbacks that run on other threads, then completes the pending operations as
    /// abandoned, on the calling thread, and then closes the descriptor. When it returns, no callback of this socket
    /// runs or will run, with two exceptions:
    ///
    /// * It does not wait for callbacks on the stack of the calling thread.
    /// * It does nothing unless the socket is open. If another thread is closing already, it therefore returns at once,
    ///   while callbacks may still run. Only dropping the socket waits for these.
    ///
    /// The drop goes further. It returns when no callback of this socket runs or will run on any thread, including
    /// callbacks that close the socket themselves. Only callbacks on the stack of the calling thread are excepted.
    ///
    /// # Deadlocks
    /// Two callbacks on different threads that close or drop each other's sockets wait for each other for ever. One
    /// port thread and one thread that sends suffice for that. Keep such pairs on one thread, or leave the closing to a
    /// third. Hold no lock that a callback of the socket takes.
    fn close(&self);

    /// Sends buffers in order as one payload.
    ///
    /// The callback runs when the kernel has taken every byte, or the send has failed. It may run before this call returns,
    /// on the calling thread.
    ///
    /// Buffers are lent by value. If the compiler says that a borrowed slice does not live long enough, lend the owner
    /// of the bytes (part of it with [`IoBuf::slice`](crate::IoBuf::slice)) or a copy.
    ///
    /// Returns the send's name, or `None` if the send is done and its callback has run.
    ///
    /// # Errors
    /// [`SendError`] and the buffers; the callback then never runs.
    fn send_async<B, F>(
        &self,
        buffers: B,
        on_send_complete: F,
    ) -> Result<Option<Self::OperationId>, Refused<B, SendError>>
    where
        B: IoBufs,
        F: FnOnce(SendCompletion<B>) + Send + 'static;

    /// Receives at least one byte into buffers, in order, and as many bytes as have arrived.
    ///
    /// The callback runs on the port thread, never inside this call. The received bytes are at the front of the buffers, see
    /// [`ReceiveCompletion::received`] and [`into_slice`](ReceiveCompletion::into_slice).
    ///
    /// Returns the receive's name. The receive may be done by then.
    ///
    /// # Errors
    /// [`ReceiveError`] and the buffers; the callback then never runs.
    fn receive_async<B, F>(
        &self,
        buffers: B,
        on_receive_complete: F,
    ) -> Result<Self::OperationId, Refused<B, ReceiveError>>
    where
        B: IoBufsMut,
        F: FnOnce(ReceiveCompletion<B>) + Send + 'static;

    /// Ends an operation that waits, whatever the peer does. The operation completes as
    /// [`Cancelled`](crate::EndReason::Cancelled), inside this call and on this thread. Its buffers come back, no byte is
    /// lost, and the other operations go on.
    ///
    /// A send of which bytes have gone out goes on too, because the peer would see a gap: the outcome is
    /// [`Cancel::Started`].
    fn cancel(&self, operation: Self::OperationId) -> Cancel;
}

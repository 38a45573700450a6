//! System calls on a socket that follow a script, without a kernel.

use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use async_socket_linux::{SocketSyscalls, UnsupportedKind};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

/// One step of a script: what one call does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A send takes at most this many bytes.
    Takes(usize),
    /// A receive delivers these bytes, as far as they fit. The rest is lost.
    Delivers(Vec<u8>),
    /// The same, with descriptors. For [`SocketSyscalls::recv_noting_scm_rights`].
    DeliversWithScmRights(Vec<u8>),
    /// The call fails.
    Fails(Errno),
}

impl Step {
    /// A receive that delivers these bytes.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::Delivers(bytes.as_ref().to_vec())
    }
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketCall {
    /// `getsockopt(SO_PROTOCOL)`
    ShortReadDrains,
    /// `send`: all the bytes that it got, and its flags.
    Send(Vec<u8>, SendFlags),
    /// `sendmsg`: all the buffers that it got, and its flags.
    SendMsg(Vec<Vec<u8>>, SendFlags),
    /// `recv`: the room that it got, and its flags.
    Recv(usize, RecvFlags),
    /// `recvmsg` into one buffer, which reports passed descriptors: the room that it got, and its flags.
    RecvNotingScmRights(usize, RecvFlags),
    /// `recvmsg`: the room in each buffer that it got, and its flags.
    RecvMsg(Vec<usize>, RecvFlags),
    /// `recvmsg(MSG_ERRQUEUE)`
    ReceiveErrorMessage,
    /// `getsockopt(SO_ERROR)`
    TakeError,
    /// `poll`
    IsBroken,
    /// `setsockopt(SO_LINGER)`: off.
    StopLingering,
    /// `shutdown` of the sending half.
    ShutDownSending,
    /// `close`: the descriptor.
    Close(RawFd),
}

/// Scripted system calls.
///
/// After the end of a script, a send takes everything, a receive finds nothing (`EAGAIN`), the error queue is empty,
/// and no error is pending.
#[derive(Debug, Clone, Default)]
pub struct ScriptedSockets {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<SocketCall>,
    sent: Vec<u8>,
    sends: VecDeque<Step>,
    receives: VecDeque<Step>,
    kind: VecDeque<Result<bool, Errno>>,
    unsupported_kinds: VecDeque<Result<Option<UnsupportedKind>, Errno>>,
    connecting: bool,
    shutdowns: VecDeque<Errno>,
    lingers: VecDeque<Result<bool, Errno>>,
    is_unix_stream: bool,
    error_messages: usize,
    /// The error event was about messages only.
    only_messages: bool,
    error: Option<Errno>,
    hooks: Vec<Hook>,
}

/// What a test does in the middle of a call.
struct Hook {
    kind: Box<dyn Fn(&SocketCall) -> bool + Send>,
    run: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}

impl ScriptedSockets {
    /// Calls without a script.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what the next calls of `send` and `sendmsg` do.
    pub fn script_send(&self, steps: impl IntoIterator<Item = Step>) {
        self.state.lock().sends.extend(steps);
    }

    /// Sets what the next calls of `recv` and `recvmsg` do.
    pub fn script_recv(&self, steps: impl IntoIterator<Item = Step>) {
        self.state.lock().receives.extend(steps);
    }

    /// Sets the answer to the next question for the kind of socket. It is `Ok(false)` unless set.
    pub fn script_short_read_drains(&self, answer: Result<bool, Errno>) {
        self.state.lock().kind.push_back(answer);
    }

    /// Sets the answer to the next question for a kind that cannot be opened. It is `Ok(None)` unless set.
    pub fn script_unsupported_kind(&self, answer: Result<Option<UnsupportedKind>, Errno>) {
        self.state.lock().unsupported_kinds.push_back(answer);
    }

    /// The socket's connect is still in progress when it is opened.
    pub fn connect_in_progress(&self) {
        self.state.lock().connecting = true;
    }

    /// The connect is over, well or not.
    pub fn connect_is_over(&self) {
        self.state.lock().connecting = false;
    }

    /// Lets the next shutdown of the sending half fail.
    pub fn fail_next_shutdown(&self, errno: Errno) {
        self.state.lock().shutdowns.push_back(errno);
    }

    /// Sets the answer to the next question whether `close` may wait. It is `Ok(false)` unless set.
    pub fn script_lingers(&self, answer: Result<bool, Errno>) {
        self.state.lock().lingers.push_back(answer);
    }

    /// The socket is a Unix stream socket.
    pub fn be_a_unix_stream(&self) {
        self.state.lock().is_unix_stream = true;
    }

    /// Puts messages into the error queue. They explain an error event without an error of the socket.
    pub fn queue_error_messages(&self, count: usize) {
        let mut state = self.state.lock();
        state.error_messages += count;
        state.only_messages = true;
    }

    /// Sets the socket's pending error.
    pub fn set_error(&self, errno: Errno) {
        self.state.lock().error = Some(errno);
    }

    /// Runs `hook` in the middle of the next call of a kind, before the call follows its script. The hook may use the
    /// socket and these calls.
    pub fn during_next(
        &self,
        kind: impl Fn(&SocketCall) -> bool + Send + 'static,
        hook: impl FnOnce() + Send + 'static,
    ) {
        self.state.lock().hooks.push(Hook { kind: Box::new(kind), run: Box::new(hook) });
    }

    /// The calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<SocketCall> {
        self.state.lock().calls.clone()
    }

    /// The number of calls of a kind.
    pub fn count(&self, kind: impl Fn(&SocketCall) -> bool) -> usize {
        self.state.lock().calls.iter().filter(|call| kind(call)).count()
    }

    /// The bytes that the sends took, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<u8> {
        self.state.lock().sent.clone()
    }

    /// Notes a call, and runs the hook that was set for it.
    fn begin(&self, call: SocketCall) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        let waiting = state.hooks.iter().position(|hook| (hook.kind)(&call));
        state.calls.push(call);
        if let Some(index) = waiting {
            let hook = state.hooks.remove(index);
            MutexGuard::unlocked(&mut state, hook.run);
        }
        state
    }

    fn take_bytes(&self, call: SocketCall, bytes: &[u8]) -> Result<usize, Errno> {
        let mut state = self.begin(call);
        let taken = match state.sends.pop_front() {
            None => bytes.len(),
            Some(Step::Takes(limit)) => limit.min(bytes.len()),
            Some(Step::Fails(errno)) => return Err(errno),
            Some(_) => panic!("a send cannot deliver bytes"),
        };
        state.sent.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn deliver(&self, call: SocketCall) -> Result<(Vec<u8>, bool), Errno> {
        let mut state = self.begin(call);
        match state.receives.pop_front() {
            None => Err(Errno::AGAIN),
            Some(Step::Delivers(bytes)) => Ok((bytes, false)),
            Some(Step::DeliversWithScmRights(bytes)) => Ok((bytes, true)),
            Some(Step::Fails(errno)) => Err(errno),
            Some(Step::Takes(_)) => panic!("a receive cannot take bytes"),
        }
    }
}

impl SocketSyscalls for ScriptedSockets {
    fn unsupported_kind(&self, _: BorrowedFd<'_>) -> Result<Option<UnsupportedKind>, Errno> {
        self.state.lock().unsupported_kinds.pop_front().unwrap_or(Ok(None))
    }

    fn is_connecting(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(self.state.lock().connecting)
    }

    fn lingers(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.state.lock().lingers.pop_front().unwrap_or(Ok(false))
    }

    fn stop_lingering(&self, _: BorrowedFd<'_>) -> Result<(), Errno> {
        drop(self.begin(SocketCall::StopLingering));
        Ok(())
    }

    fn short_read_drains(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        let mut state = self.begin(SocketCall::ShortReadDrains);
        state.kind.pop_front().unwrap_or(Ok(false))
    }

    fn send(&self, _: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
        self.take_bytes(SocketCall::Send(bytes.to_vec(), flags), bytes)
    }

    fn sendmsg(&self, _: BorrowedFd<'_>, buffers: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
        let list: Vec<_> = buffers.iter().map(|buffer| buffer.to_vec()).collect();
        let bytes = list.concat();
        self.take_bytes(SocketCall::SendMsg(list, flags), &bytes)
    }

    fn is_unix_stream(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(self.state.lock().is_unix_stream)
    }

    fn recv_noting_scm_rights(
        &self,
        _: BorrowedFd<'_>,
        buffer: &mut [u8],
        flags: RecvFlags,
    ) -> Result<(usize, bool), Errno> {
        let (bytes, descriptors) = self.deliver(SocketCall::RecvNotingScmRights(buffer.len(), flags))?;
        Ok((fill(buffer, &bytes), descriptors))
    }

    fn recv(&self, _: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        let (bytes, _) = self.deliver(SocketCall::Recv(buffer.len(), flags))?;
        Ok(fill(buffer, &bytes))
    }

    fn recvmsg(&self, _: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>], flags: RecvFlags) -> Result<usize, Errno> {
        let room = buffers.iter().map(|buffer| buffer.len()).collect();
        let (bytes, _) = self.deliver(SocketCall::RecvMsg(room, flags))?;
        let mut rest = bytes.as_slice();
        for buffer in buffers {
            let filled = fill(buffer, rest);
            rest = &rest[filled..];
        }
        Ok(bytes.len() - rest.len())
    }

    fn receive_error_message(&self, _: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut state = self.begin(SocketCall::ReceiveErrorMessage);
        state.error_messages = state.error_messages.checked_sub(1).ok_or(Errno::AGAIN)?;
        Ok(())
    }

    fn take_error(&self, _: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        let mut state = self.begin(SocketCall::TakeError);
        Ok(state.error.take())
    }

    fn is_broken(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(!self.begin(SocketCall::IsBroken).only_messages)
    }

    fn shut_down_sending(&self, _: BorrowedFd<'_>) -> Result<(), Errno> {
        self.begin(SocketCall::ShutDownSending).shutdowns.pop_front().map_or(Ok(()), Err)
    }

    fn close(&self, fd: OwnedFd) {
        drop(self.begin(SocketCall::Close(fd.as_raw_fd())));
    }
}

/// Copies as many bytes as fit.
fn fill(buffer: &mut [u8], bytes: &[u8]) -> usize {
    let fits = bytes.len().min(buffer.len());
    buffer[..fits].copy_from_slice(&bytes[..fits]);
    fits
}

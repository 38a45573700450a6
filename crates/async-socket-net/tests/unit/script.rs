//! System calls that follow a script, and an inbox for what callbacks get.

use async_socket_net::sys::{Credentials, Errno, ListenerKind, NetSyscalls};
use async_socket_net::{Address, Family, SocketOption};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::io::pipe;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use test_doubles::MockPort;

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    SetNonblocking,
    Accept,
    Socket(Family),
    Bind(String),
    Listen(i32),
    Connect(String),
    ConnectAgain,
    TakeError,
    SetOption(SocketOption),
    PeerCredentials,
    Close(RawFd),
}

/// Scripted calls. After the end of a script, `accept` finds nothing, `connect` is in progress and stays so, and everything else
/// works.
#[derive(Clone)]
pub(crate) struct Script {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    accepts: VecDeque<Result<Address, Errno>>,
    kind: Option<Result<ListenerKind, Errno>>,
    sockets: VecDeque<Result<(), Errno>>,
    binds: VecDeque<Result<(), Errno>>,
    connects: VecDeque<Result<(), Errno>>,
    connects_again: VecDeque<Result<(), Errno>>,
    errors: VecDeque<Result<Option<Errno>, Errno>>,
    options: VecDeque<Result<(), Errno>>,
    makes_no_sockets: bool,
    /// The other ends of the descriptors that were made, which keep them connected.
    peers: Vec<UnixStream>,
    open: Vec<RawFd>,
    hook: Option<Box<dyn FnOnce() + Send>>,
}

pub(crate) fn inet(text: &str) -> Address {
    text.parse::<SocketAddr>().expect("set-up").into()
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default() }
    }

    pub(crate) fn accepts(&self, outcomes: impl IntoIterator<Item = Result<Address, Errno>>) {
        self.state.lock().accepts.extend(outcomes);
    }

    pub(crate) fn is_a(&self, kind: Result<ListenerKind, Errno>) {
        self.state.lock().kind = Some(kind);
    }

    pub(crate) fn sockets(&self, outcomes: impl IntoIterator<Item = Result<(), Errno>>) {
        self.state.lock().sockets.extend(outcomes);
    }

    pub(crate) fn binds(&self, outcomes: impl IntoIterator<Item = Result<(), Errno>>) {
        self.state.lock().binds.extend(outcomes);
    }

    pub(crate) fn connects(&self, outcomes: impl IntoIterator<Item = Result<(), Errno>>) {
        self.state.lock().connects.extend(outcomes);
    }

    pub(crate) fn connects_again(&self, outcomes: impl IntoIterator<Item = Result<(), Errno>>) {
        self.state.lock().connects_again.extend(outcomes);
    }

    /// What `SO_ERROR` says.
    pub(crate) fn errors(&self, outcomes: impl IntoIterator<Item = Result<Option<Errno>, Errno>>) {
        self.state.lock().errors.extend(outcomes);
    }

    pub(crate) fn options(&self, outcomes: impl IntoIterator<Item = Result<(), Errno>>) {
        self.state.lock().options.extend(outcomes);
    }

    /// From now on descriptors are made that are no sockets, so that a question about a socket fails.
    pub(crate) fn makes_no_sockets(&self) {
        self.state.lock().makes_no_sockets = true;
    }

    /// Closes the other ends of the descriptors that were made.
    pub(crate) fn hang_up(&self) {
        self.state.lock().peers.clear();
    }

    /// Runs `hook` inside the next `connect`.
    pub(crate) fn during_connect(&self, hook: impl FnOnce() + Send + 'static) {
        self.state.lock().hook = Some(Box::new(hook));
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    pub(crate) fn count(&self, call: &Call) -> usize {
        self.state.lock().calls.iter().filter(|it| *it == call).count()
    }

    /// The addresses that were connected to, in order.
    pub(crate) fn connected_to(&self) -> Vec<String> {
        let calls = self.calls().into_iter();
        calls.filter_map(|call| if let Call::Connect(address) = call { Some(address) } else { None }).collect()
    }

    /// The descriptors that were made and not closed through these calls.
    pub(crate) fn open(&self) -> usize {
        self.state.lock().open.len()
    }

    fn descriptor(state: &mut State) -> OwnedFd {
        let (ours, theirs) = UnixStream::pair().expect("set-up");
        let ours = if state.makes_no_sockets { pipe().expect("set-up").0.into() } else { OwnedFd::from(ours) };
        state.peers.push(theirs);
        state.open.push(ours.as_raw_fd());
        ours
    }
}

fn next<T>(script: &mut VecDeque<Result<T, Errno>>, otherwise: Result<T, Errno>) -> Result<T, Errno> {
    script.pop_front().unwrap_or(otherwise)
}

impl NetSyscalls for Script {
    fn listener_kind(&self, _: BorrowedFd<'_>) -> Result<ListenerKind, Errno> {
        self.state.lock().kind.unwrap_or(Ok(ListenerKind::Listening(Family::V4)))
    }

    fn set_nonblocking(&self, _: BorrowedFd<'_>) -> Result<(), Errno> {
        self.state.lock().calls.push(Call::SetNonblocking);
        Ok(())
    }

    fn accept(&self, _: BorrowedFd<'_>) -> Result<(OwnedFd, Address), Errno> {
        let mut state = self.state.lock();
        state.calls.push(Call::Accept);
        let peer = next(&mut state.accepts, Err(Errno::AGAIN))?;
        Ok((Self::descriptor(&mut state), peer))
    }

    fn socket(&self, family: Family) -> Result<OwnedFd, Errno> {
        let mut state = self.state.lock();
        state.calls.push(Call::Socket(family));
        next(&mut state.sockets, Ok(()))?;
        Ok(Self::descriptor(&mut state))
    }

    fn bind(&self, _: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.calls.push(Call::Bind(address.to_string()));
        next(&mut state.binds, Ok(()))
    }

    fn listen(&self, _: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
        self.state.lock().calls.push(Call::Listen(backlog));
        Ok(())
    }

    fn connect(&self, _: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        let hook = self.state.lock().hook.take();
        hook.into_iter().for_each(|hook| hook());
        let mut state = self.state.lock();
        state.calls.push(Call::Connect(address.to_string()));
        next(&mut state.connects, Err(Errno::INPROGRESS))
    }

    fn connect_again(&self, _: BorrowedFd<'_>, _: &Address) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.calls.push(Call::ConnectAgain);
        next(&mut state.connects_again, Err(Errno::ALREADY))
    }

    fn take_error(&self, _: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        let mut state = self.state.lock();
        state.calls.push(Call::TakeError);
        next(&mut state.errors, Ok(None))
    }

    fn set_option(&self, _: BorrowedFd<'_>, option: SocketOption) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.calls.push(Call::SetOption(option));
        next(&mut state.options, Ok(()))
    }

    fn local_address(&self, _: BorrowedFd<'_>) -> Result<Address, Errno> {
        Ok(inet("127.0.0.1:4321"))
    }

    fn peer_credentials(&self, _: BorrowedFd<'_>) -> Result<Credentials, Errno> {
        self.state.lock().calls.push(Call::PeerCredentials);
        Ok(Credentials { process: Some(1), user: 2, group: 3 })
    }

    fn close(&self, fd: OwnedFd) {
        let mut state = self.state.lock();
        state.calls.push(Call::Close(fd.as_raw_fd()));
        state.open.retain(|open| *open != fd.as_raw_fd());
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

/// What callbacks got.
pub(crate) struct Inbox<T>(Arc<Mutex<VecDeque<T>>>);

impl<T: Send + 'static> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn callback(&self) -> impl FnMut(T) + Clone + Send + 'static + use<T> {
        let ours = Arc::clone(&self.0);
        move |value| ours.lock().push_back(value)
    }

    /// The oldest that is there.
    pub(crate) fn next(&self) -> Option<T> {
        self.0.lock().pop_front()
    }

    /// The only one that is there. No callback is left.
    pub(crate) fn only(&self) -> T {
        let value = self.next().expect("a callback has run");
        assert!(self.next().is_none(), "it has run once");
        assert_eq!(Arc::strong_count(&self.0), 1, "no callback is left");
        value
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

/// A mock port and its script.
pub(crate) fn doubles() -> (MockPort, Script) {
    (MockPort::new(), Script::new())
}

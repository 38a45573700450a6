//! A place for one socket and its peer, and the calls on them.

use crate::operation::{Inside, Operation, Pooled, on_end, on_open, on_pooled, on_receive, on_send, on_work};
use crate::pool::Pools;
use crate::seeing::{Told, address, metrics, waiting};
use arbitrary::Arbitrary;
use async_socket::ASYNC_SOCKET_SEND_SYNC_RESULT::ASYNC_SOCKET_SEND_SYNC_OK;
use async_socket::*;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;

const OK: u32 = 1;
const CANCELLED: u32 = ASYNC_SOCKET_END_REASON::ASYNC_SOCKET_END_CANCELLED as u32;
use ASYNC_SOCKET_CANCEL_RESULT::{
    ASYNC_SOCKET_CANCEL_ERROR as CANCEL_ERROR, ASYNC_SOCKET_CANCEL_NOT_WAITING as CANCEL_NOT_WAITING,
    ASYNC_SOCKET_CANCEL_OK as CANCEL_OK,
};

#[derive(Debug, Arbitrary)]
pub(crate) enum Call {
    Create {
        negative: bool,
    },
    /// Created and opened in one call.
    CreateAndOpen {
        negative: bool,
    },
    Open {
        wrong: Wrong,
    },
    Send {
        sizes: [u8; 3],
        count: u8,
        wrong: Wrong,
        close_inside: bool,
    },
    Receive {
        sizes: [u8; 3],
        count: u8,
        wrong: Wrong,
        close_inside: bool,
    },
    /// A send, a receive or a shutdown with a name, perhaps with a time limit in milliseconds.
    Within {
        sizes: [u8; 3],
        count: u8,
        kind: Kind,
        limit: Option<u8>,
        wrong: Wrong,
    },
    /// A receive that takes a buffer of one of the pools.
    Pooled {
        second: bool,
        limit: Option<u8>,
        /// It gives its buffer back inside the callback.
        at_once: bool,
        wrong: Wrong,
    },
    /// Gives back what the nth receive from a pool got.
    GiveBack {
        nth: u8,
    },
    /// Ends the socket and takes its descriptor. Another socket may go on with it.
    Release {
        no_handle: bool,
        goes_on: bool,
        opened: bool,
    },
    SetMetrics {
        on: bool,
        no_handle: bool,
    },
    Metrics {
        size: u16,
        no_handle: bool,
    },
    Address {
        of_peer: bool,
        size: u16,
        no_handle: bool,
        no_place: bool,
    },
    /// Cancels the nth operation that has a name.
    Cancel {
        nth: u8,
        no_handle: bool,
    },
    /// Any number as the name of an operation.
    CancelAny(u64),
    IdleTimeout {
        milliseconds: u8,
        no_handle: bool,
    },
    HighWater {
        bytes: u16,
        no_handle: bool,
    },
    Ask {
        no_handle: bool,
    },
    CloseAsync {
        wrong: Wrong,
    },
    Close,
    Destroy,
    /// Destroyed inside a receive's callback.
    DestroyInside,
    Nothing,
    PeerWrites(u8),
    PeerReads,
    PeerGoes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub(crate) enum Kind {
    Send,
    Receive,
    ShutDown,
}

/// The wrong argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub(crate) enum Wrong {
    No,
    Handle,
    Callback,
    List,
    Pointer,
    /// The list claims more than 4 GiB. The call must refuse it before it touches the memory.
    Length,
}

#[derive(Default)]
pub(crate) struct Place(Option<Socket>);

struct Socket {
    handle: ASYNC_SOCKET_HANDLE,
    peer: Option<UnixStream>,
    opened: bool,
    opens: Vec<Box<Operation>>,
    sends: Vec<Box<Operation>>,
    receives: Vec<Box<Operation>>,
    /// Shutdowns and closes that do not wait.
    others: Vec<Box<Operation>>,
    /// Operations with a name. Each is also in one of the lists above.
    names: Vec<(ASYNC_SOCKET_OPERATION_ID, *const Operation)>,
    /// The bytes of the sends are numbered, and so are those of the peer.
    sent: usize,
    written: usize,
    read: Vec<u8>,
    /// What was still in the descriptor when it was taken out of the last socket.
    rest: Option<Vec<u8>>,
    counting: Counting,
}

/// What this target knows of a socket's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counting {
    Off,
    /// Since then; some operations may have ended before.
    On,
    /// Since before the first operation.
    FromTheStart,
}

impl Place {
    pub(crate) fn call(&mut self, call: Call, pools: &Pools) {
        match (call, &mut self.0) {
            (Call::Create { negative: true }, _) => {
                // SAFETY: a negative number is allowed.
                assert!(unsafe { async_socket_create(null_mut(), INVALID_SOCKET) }.is_null());
            }
            (Call::CreateAndOpen { negative: true }, _) => {
                // SAFETY: a negative number is allowed.
                assert!(unsafe { async_socket_create_and_open(null_mut(), INVALID_SOCKET) }.is_null());
            }
            (Call::Create { .. }, place @ None) => *place = Some(Socket::create(false)),
            (Call::CreateAndOpen { .. }, place @ None) => *place = Some(Socket::create(true)),
            (Call::Nothing, _) => nothing(),
            (Call::Destroy, _) => self.0.take().into_iter().for_each(Socket::destroy),
            (Call::DestroyInside, Some(socket)) if socket.opened => {
                self.0.take().into_iter().for_each(Socket::destroy_inside);
            }
            (call, Some(socket)) => socket.call(&call, pools),
            (_, None) => {}
        }
    }

    pub(crate) fn end(self) {
        self.0.into_iter().for_each(Socket::destroy);
    }
}

/// NULL is ignored.
fn nothing() {
    // SAFETY: NULL is allowed.
    unsafe { async_socket_close(null_mut()) };
    // SAFETY: NULL is allowed.
    unsafe { async_socket_destroy(null_mut()) };
    assert_ne!(async_socket_is_answering(), 0);
}

/// A socket that owns the descriptor.
fn create(descriptor: SOCKET_HANDLE, opened: bool) -> ASYNC_SOCKET_HANDLE {
    // SAFETY: it was ours to give away.
    let created = unsafe {
        match opened {
            true => async_socket_create_and_open(null_mut(), descriptor),
            false => async_socket_create(null_mut(), descriptor),
        }
    };
    assert!(!created.is_null());
    created
}

impl Socket {
    fn create(opened: bool) -> Self {
        let (ours, peer) = UnixStream::pair().expect("a pair");
        peer.set_nonblocking(true).expect("O_NONBLOCK");
        narrow(&ours);
        let handle = create(ours.into_raw_fd(), opened);
        let (opens, sends, receives, read) = Default::default();
        let (others, names, sent, written, rest) = Default::default();
        let (peer, counting) = (Some(peer), Counting::Off);
        Self { handle, peer, opened, opens, sends, receives, others, names, sent, written, read, rest, counting }
    }

    fn call(&mut self, call: &Call, pools: &Pools) {
        match call {
            Call::Pooled { second, limit, at_once, wrong } => self.pooled(pools, *second, *limit, *at_once, *wrong),
            Call::GiveBack { nth } => {
                let mut pooled = self.receives.iter().filter_map(|receive| receive.pooled.as_ref());
                pooled.nth(usize::from(*nth) % 8).into_iter().for_each(Pooled::release);
            }
            Call::Release { no_handle, goes_on, opened } => self.release(*no_handle, *goes_on, *opened),
            Call::SetMetrics { on, no_handle } => {
                // SAFETY: NULL or a valid handle.
                let refused = unsafe { async_socket_set_metrics(self.or_null(*no_handle), (*on).into()) };
                assert_eq!(refused != 0, *no_handle);
                self.counting = match (refused == 0, *on, self.counting) {
                    (false, _, before) => before,
                    (true, false, _) => Counting::Off,
                    (true, true, Counting::Off) if self.is_unused() => Counting::FromTheStart,
                    (true, true, Counting::Off) => Counting::On,
                    (true, true, before) => before,
                };
            }
            Call::Metrics { size, no_handle } => self.metrics(*size, *no_handle),
            Call::Address { of_peer, size, no_handle, no_place } => {
                let ask = if *of_peer { async_socket_get_peer_address } else { async_socket_get_local_address };
                let told = address(ask, self.or_null(*no_handle), *size, *no_place);
                // A callback may close the socket at any time.
                let (right, is_open) = (!no_handle && !no_place && size % 640 >= 10, self.is_open());
                assert!(told.is_some() || !(right && is_open && (self.peer.is_some() || !of_peer)));
                assert!(told.is_none_or(|text| right && self.opened && text == "(unnamed)"));
            }
            Call::Open { wrong } => self.open(*wrong),
            Call::Send { sizes, count, wrong, close_inside } => {
                let mut operation = Operation::new(&sizes[..usize::from(*count) % 4]);
                let mut number = self.sent;
                for byte in operation.buffers.iter_mut().flatten() {
                    *byte = mark(number);
                    number += 1;
                }
                if self.transfer(operation, *wrong, *close_inside, true) {
                    self.sent = number;
                }
            }
            Call::Receive { sizes, count, wrong, close_inside } => {
                let operation = Operation::new(&sizes[..usize::from(*count) % 4]);
                self.transfer(operation, *wrong, *close_inside, false);
            }
            Call::Within { sizes, count, kind, limit, wrong } => {
                self.within(&sizes[..usize::from(*count) % 4], *kind, *limit, *wrong);
            }
            Call::Cancel { nth, no_handle } => self.cancel(*nth, *no_handle),
            Call::CancelAny(id) if self.names.iter().all(|(name, _)| name != id) => {
                // SAFETY: a valid handle.
                let result = unsafe { async_socket_cancel(self.handle, *id) };
                let none = if *id == 0 { CANCEL_ERROR } else { CANCEL_NOT_WAITING };
                assert_eq!(result, none, "nothing has this name");
            }
            Call::IdleTimeout { milliseconds, no_handle } => {
                // SAFETY: NULL or a valid handle.
                let refused = unsafe { async_socket_set_idle_timeout(self.or_null(*no_handle), (*milliseconds).into()) };
                assert!(refused != 0 || !no_handle);
            }
            Call::HighWater { bytes, no_handle } => {
                // SAFETY: NULL or a valid handle.
                let refused = unsafe { async_socket_set_high_water_mark(self.or_null(*no_handle), (*bytes).into()) };
                assert_eq!(refused != 0, *no_handle);
            }
            Call::Ask { no_handle } => {
                let handle = self.or_null(*no_handle);
                // SAFETY: NULL or a valid handle.
                let queued = unsafe { async_socket_queued_bytes(handle) };
                assert!(queued <= self.sent && !(*no_handle && queued > 0));
                // SAFETY: NULL or a valid handle.
                let number = unsafe { async_socket_get_descriptor(handle) };
                assert!(number == INVALID_SOCKET || self.opened && !no_handle);
            }
            Call::CloseAsync { wrong } => self.close_async(*wrong),
            // SAFETY: a valid handle.
            Call::Close => unsafe { async_socket_close(self.handle) },
            Call::PeerWrites(count) => {
                let bytes: Vec<u8> = (self.written..self.written + usize::from(*count)).map(mark).collect();
                self.written += self.peer.as_mut().and_then(|peer| peer.write(&bytes).ok()).unwrap_or(0);
            }
            Call::PeerReads => self.peer_reads(),
            Call::PeerGoes => {
                self.peer_reads();
                self.peer = None;
            }
            _ => {}
        }
    }

    fn open(&mut self, wrong: Wrong) {
        let operation = Operation::new(&[]);
        let handle = if wrong == Wrong::Handle { null_mut() } else { self.handle };
        let callback: ON_ASYNC_SOCKET_OPEN_COMPLETE = if wrong == Wrong::Callback { None } else { Some(on_open) };
        // SAFETY: NULL or a valid handle; the operation is kept.
        let refused = unsafe { async_socket_open_async(handle, callback, operation.context()) };
        let right = !self.opened && !matches!(wrong, Wrong::Handle | Wrong::Callback);
        assert_eq!(refused == 0, right, "opens once");
        if right {
            assert_eq!(operation.once().0, OK);
            self.opened = true;
            self.opens.push(operation);
        } else {
            operation.never();
        }
    }

    /// Sends or receives. Returns whether the call was accepted.
    fn transfer(&mut self, mut operation: Box<Operation>, wrong: Wrong, close_inside: bool, sends: bool) -> bool {
        let mut list = operation.list();
        let bad = list.iter().any(|buffer| buffer.length == 0) || list.is_empty() || wrong != Wrong::No;
        match (wrong, list.as_mut_slice()) {
            (Wrong::Pointer, [.., last]) => last.buffer = null_mut(),
            (Wrong::Length, [first, .., last]) => [first.length, last.length] = [u32::MAX; 2],
            (Wrong::Pointer | Wrong::Length, _) => return false,
            _ => {}
        }
        operation.inside = close_inside.then_some(Inside::Close(self.handle));
        let handle = if wrong == Wrong::Handle { null_mut() } else { self.handle };
        let (pointer, count) = (list.as_mut_ptr(), u32::try_from(list.len()).expect("few"));
        let pointer = if wrong == Wrong::List { null_mut() } else { pointer };
        let (no, context) = (wrong == Wrong::Callback, operation.context());
        let accepted = if sends {
            let callback: ON_ASYNC_SOCKET_SEND_COMPLETE = if no { None } else { Some(on_send) };
            // SAFETY: NULL or valid; the operation and its buffers are kept.
            unsafe { async_socket_send_async(handle, pointer, count, callback, context) == ASYNC_SOCKET_SEND_SYNC_OK }
        } else {
            let callback: ON_ASYNC_SOCKET_RECEIVE_COMPLETE = if no { None } else { Some(on_receive) };
            // SAFETY: NULL or valid; the operation and its buffers are kept.
            unsafe { async_socket_receive_async(handle, pointer, count, callback, context) == 0 }
        };
        assert!(!accepted || self.opened && !bad, "wrong arguments are refused");
        match (accepted, sends) {
            (true, true) => self.sends.push(operation),
            (true, false) => self.receives.push(operation),
            (false, _) => operation.never(),
        }
        accepted
    }

    fn is_open(&self) -> bool {
        // SAFETY: a valid handle.
        unsafe { async_socket_get_descriptor(self.handle) != INVALID_SOCKET }
    }

    /// Whether no operation was accepted, by this socket or by one before it.
    fn is_unused(&self) -> bool {
        self.sends.is_empty() && self.receives.is_empty() && self.others.is_empty()
    }

    fn pooled(&mut self, pools: &Pools, second: bool, limit: Option<u8>, at_once: bool, wrong: Wrong) {
        let Some(pool) = pools.get(second) else { return };
        let operation = Operation::pooled(pool, at_once);
        let handle = self.or_null(wrong == Wrong::Handle);
        let from = if wrong == Wrong::List { null_mut() } else { pool.handle };
        let limit = limit.map_or(ASYNC_SOCKET_NO_TIME_LIMIT, |limit| u32::from(limit) % 8);
        let done: ON_ASYNC_SOCKET_RECEIVE_POOLED_COMPLETE =
            if wrong == Wrong::Callback { None } else { Some(on_pooled) };
        let (context, mut id) = (operation.context(), u64::MAX);
        let place = if wrong == Wrong::Pointer { null_mut() } else { &raw mut id };
        // SAFETY: NULL or valid; the operation is kept.
        let refused = unsafe { async_socket_receive_pooled_async(handle, from, limit, done, context, place) };
        let right = !matches!(wrong, Wrong::Handle | Wrong::List | Wrong::Callback);
        assert!(refused != 0 || self.opened && right, "wrong arguments are refused");
        assert_eq!(id == u64::MAX, place.is_null());
        if refused != 0 {
            assert!(id == 0 || place.is_null(), "what is refused has no name");
            return operation.never();
        }
        if !place.is_null() {
            assert_ne!(id, 0, "an accepted receive has a name");
            self.names.push((id, &raw const *operation));
        }
        self.receives.push(operation);
    }

    fn release(&mut self, no_handle: bool, goes_on: bool, opened: bool) {
        // SAFETY: a valid handle.
        let before = unsafe { async_socket_get_descriptor(self.handle) };
        let waits = waiting(&self.sends) + waiting(&self.receives) + waiting(&self.others);
        // SAFETY: NULL or a valid handle.
        let number = unsafe { async_socket_release_descriptor(self.or_null(no_handle)) };
        if number == INVALID_SOCKET {
            assert!(no_handle || before == INVALID_SOCKET || waits > 0, "nothing was in the way");
            return;
        }
        assert!(!no_handle && number == before && !self.is_open());
        let all = || self.sends.iter().chain(&self.receives).chain(&self.others);
        all().for_each(|operation| _ = operation.once());
        // What went out of a send that failed and does not say so is not known. So nothing may be sent behind it.
        let goes_on = goes_on && self.sends.iter().all(|send| matches!(send.once(), (OK, _) | (_, 1..)));
        if goes_on {
            // SAFETY: not used again.
            unsafe { async_socket_destroy(self.handle) };
            self.handle = create(number, opened);
            (self.opened, self.counting) = (opened, Counting::Off);
            // Another socket's names.
            self.names.clear();
        } else {
            // SAFETY: it is ours again.
            let mut stream = unsafe { UnixStream::from_raw_fd(number) };
            stream.set_nonblocking(true).expect("O_NONBLOCK");
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            self.rest = Some(rest);
        }
    }

    fn metrics(&self, size: u16, no_handle: bool) {
        let ended = |operations: &[Box<Operation>]| operations.len() as u64 - waiting(operations);
        let (receives, sends) = (waiting(&self.receives), waiting(&self.sends) + waiting(&self.others));
        let bytes: usize = self.sends.iter().filter(|send| send.calls() == 0).map(|send| send.size()).sum();
        let (receives_ended, sends_ended) = (ended(&self.receives), ended(&self.sends));
        let handle = self.or_null(no_handle);
        // SAFETY: NULL or a valid handle; there is room.
        let told = metrics(size, |place, size| unsafe { async_socket_get_metrics(handle, place, size) });
        assert_eq!(matches!(told, Told::Refused), no_handle);
        let Told::All(now) = told else { return };
        assert!(now.receives_waiting <= receives && now.sends_waiting <= sends, "{now:?}");
        assert!(now.queued_bytes <= bytes as u64, "{now:?}");
        assert_eq!(now.is_counting, u64::from(self.counting != Counting::Off));
        let sum = |counts: &ASYNC_SOCKET_OPERATION_COUNTS| {
            counts.completed + counts.abandoned + counts.cancelled + counts.timed_out + counts.failed
        };
        let most = if self.counting == Counting::Off { 0 } else { u64::MAX };
        let (all_receives, all_sends) = (self.receives.len() as u64, (self.sends.len() + self.others.len()) as u64);
        assert!(sum(&now.receives) <= all_receives.min(most) && sum(&now.sends) <= all_sends.min(most), "{now:?}");
        assert!(now.bytes_received <= (self.written as u64).min(most), "{now:?}");
        assert!(now.bytes_sent <= (self.sent as u64).min(most) && now.sends_queued <= all_sends.min(most), "{now:?}");
        assert!(now.sends_refused <= most && now.longest_callback_nanoseconds <= most, "{now:?}");
        if self.counting == Counting::FromTheStart {
            assert!(sum(&now.receives) >= receives_ended && sum(&now.sends) >= sends_ended, "{now:?}");
        }
    }

    fn or_null(&self, null: bool) -> ASYNC_SOCKET_HANDLE {
        if null { null_mut() } else { self.handle }
    }

    fn within(&mut self, sizes: &[u8], kind: Kind, limit: Option<u8>, wrong: Wrong) {
        let mut operation = Operation::new(if kind == Kind::ShutDown { &[] } else { sizes });
        let mut number = self.sent;
        if kind == Kind::Send {
            for byte in operation.buffers.iter_mut().flatten() {
                *byte = mark(number);
                number += 1;
            }
        }
        let mut list = operation.list();
        let bad = kind != Kind::ShutDown && (list.is_empty() || list.iter().any(|buffer| buffer.length == 0));
        match (wrong, list.as_mut_slice()) {
            (Wrong::Pointer, [.., last]) => last.buffer = null_mut(),
            (Wrong::Length, [first, .., last]) => [first.length, last.length] = [u32::MAX; 2],
            (Wrong::Pointer | Wrong::Length | Wrong::List, _) if kind == Kind::ShutDown => return,
            (Wrong::Pointer | Wrong::Length, _) => return,
            _ => {}
        }
        let handle = self.or_null(wrong == Wrong::Handle);
        let limit = limit.map_or(ASYNC_SOCKET_NO_TIME_LIMIT, |limit| u32::from(limit) % 8);
        let (pointer, count) = (list.as_mut_ptr(), u32::try_from(list.len()).expect("few"));
        let pointer = if wrong == Wrong::List { null_mut() } else { pointer };
        let done: ON_ASYNC_SOCKET_OPERATION_COMPLETE = if wrong == Wrong::Callback { None } else { Some(on_end) };
        let (context, mut id) = (operation.context(), u64::MAX);
        let accepted = match kind {
            // SAFETY: NULL or valid; the operation and its buffers are kept.
            Kind::Send => unsafe {
                async_socket_send_async_within(handle, pointer, count, limit, done, context, &raw mut id)
                    == ASYNC_SOCKET_SEND_SYNC_OK
            },
            // SAFETY: as above.
            Kind::Receive => unsafe {
                async_socket_receive_async_within(handle, pointer, count, limit, done, context, &raw mut id) == 0
            },
            // SAFETY: as above.
            Kind::ShutDown => unsafe {
                async_socket_shutdown_async(handle, done, context, &raw mut id) == ASYNC_SOCKET_SEND_SYNC_OK
            },
        };
        assert!(!accepted || self.opened && !bad && wrong == Wrong::No, "wrong arguments are refused");
        if !accepted {
            assert!(id == 0 || id == u64::MAX, "what is refused has no name");
            return operation.never();
        }
        assert!(id != u64::MAX && (kind != Kind::Receive || id != 0), "an accepted operation has a name");
        if id != 0 {
            self.names.push((id, &raw const *operation));
        }
        match kind {
            Kind::Send => {
                self.sent = number;
                self.sends.push(operation);
            }
            Kind::Receive => self.receives.push(operation),
            Kind::ShutDown => self.others.push(operation),
        }
    }

    fn cancel(&self, nth: u8, no_handle: bool) {
        let Some((id, operation)) = self.names.get(usize::from(nth) % self.names.len().max(1)) else { return };
        // SAFETY: operations are kept until the end.
        let operation = unsafe { &**operation };
        let before = operation.calls();
        // SAFETY: NULL or a valid handle.
        let result = unsafe { async_socket_cancel(self.or_null(no_handle), *id) };
        match result {
            CANCEL_OK => assert_eq!((before, operation.once().0), (0, CANCELLED), "it has run inside the call"),
            CANCEL_ERROR => assert!(no_handle),
            _ => assert!(!no_handle),
        }
    }

    fn close_async(&mut self, wrong: Wrong) {
        let operation = Operation::new(&[]);
        let (handle, context) = (self.or_null(wrong == Wrong::Handle), operation.context());
        let done: ON_ASYNC_SOCKET_CLOSE_COMPLETE = if wrong == Wrong::Callback { None } else { Some(on_work) };
        // SAFETY: NULL or valid; the operation is kept.
        if unsafe { async_socket_close_async(handle, done, context) } == 0 {
            assert!(self.opened && !matches!(wrong, Wrong::Handle | Wrong::Callback));
            self.others.push(operation);
        } else {
            operation.never();
        }
    }

    fn peer_reads(&mut self) {
        if let Some(peer) = &mut self.peer {
            // Reads all bytes that have arrived, whatever ends the read.
            let _ = peer.read_to_end(&mut self.read);
        }
    }

    fn destroy(mut self) {
        // SAFETY: no code uses the handle again.
        unsafe { async_socket_destroy(self.handle) };
        self.check();
    }

    /// Closes the peer, which ends a receive. The callback of that receive destroys the socket.
    fn destroy_inside(mut self) {
        if self.receives.iter().any(|receive| receive.pooled.is_some() && receive.calls() == 0) {
            // It may wait for a buffer that the program holds, and the last receive would wait behind it.
            return self.destroy();
        }
        let mut last = Operation::new(&[1]);
        last.inside = Some(Inside::Destroy(self.handle));
        let mut list = last.list();
        // SAFETY: valid, and kept.
        let refused =
            unsafe { async_socket_receive_async(self.handle, list.as_mut_ptr(), 1, Some(on_receive), last.context()) };
        if refused != 0 {
            return self.destroy();
        }
        self.peer_reads();
        self.peer = None;
        last.soon();
        // An earlier callback may have closed the socket from inside and may still run.
        self.receives.iter().chain(&self.sends).chain(&self.others).for_each(|operation| operation.soon());
        self.receives.push(last);
        self.check();
    }

    fn check(&mut self) {
        self.peer_reads();
        for other in &self.others {
            other.once();
        }
        let (sent, at_most) = self.expected();
        assert!(at_most.starts_with(&self.read), "the peer gets the bytes in the order of the sends");
        assert!(self.peer.is_none() || self.read.len() >= sent, "what is OK has been sent");
        let mut number = 0;
        for receive in &self.receives {
            let (result, count) = receive.once();
            assert!((result == OK) == (count > 0) && count <= receive.size(), "{result} with {count} bytes");
            for byte in receive.received(count) {
                assert_eq!(byte, mark(number), "what the peer wrote arrives in order, and none is lost");
                number += 1;
            }
        }
        if let Some(rest) = &self.rest {
            for byte in rest {
                assert_eq!(*byte, mark(number), "what was not received is still in the descriptor");
                number += 1;
            }
            assert_eq!(number, self.written, "no byte is lost");
        }
        self.receives.iter().filter_map(|it| it.pooled.as_ref()).for_each(Pooled::release);
    }
}

impl Socket {
    /// How many bytes must have arrived, and the most that can have. A send that fails with nothing gone out is followed
    /// by others. A plain one does not say how much went out, but if another send succeeds behind it, that was nothing.
    fn expected(&self) -> (usize, Vec<u8>) {
        let ended: Vec<_> = self.sends.iter().map(|send| send.once()).collect();
        let last_ok = ended.iter().rposition(|(result, _)| *result == OK);
        let (mut sent, mut most) = (0, Vec::new());
        for (index, (send, (result, bytes))) in self.sends.iter().zip(ended).enumerate() {
            let has_name = bytes > 0;
            let all = send.buffers.iter().flatten().copied();
            if result == OK {
                sent += send.size();
                most.extend(all);
            } else if has_name {
                most.extend(all.take(bytes));
            } else if last_ok.is_none_or(|last| index > last) {
                most.extend(all);
            }
        }
        (sent, most)
    }
}

/// Gives the kernel little room, so that some sends wait.
fn narrow(socket: &UnixStream) {
    let least: libc::c_int = 0;
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("small");
    // SAFETY: the option is an integer.
    let refused = unsafe {
        let value = (&raw const least).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, value, size)
    };
    assert_eq!(refused, 0);
}

fn mark(number: usize) -> u8 {
    u8::try_from(number % 251).expect("below 251")
}

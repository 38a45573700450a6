//! A place for one socket and its peer, and the calls on them.

use crate::operation::{Inside, Operation, on_open, on_receive, on_send};
use arbitrary::Arbitrary;
use async_socket::ASYNC_SOCKET_SEND_SYNC_RESULT::ASYNC_SOCKET_SEND_SYNC_OK;
use async_socket::*;
use std::io::{Read, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;

const OK: u32 = 1;

#[derive(Debug, Arbitrary)]
pub(crate) enum Call {
    Create {
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
    Close,
    Destroy,
    /// Destroyed inside a receive's callback.
    DestroyInside,
    Nothing,
    PeerWrites(u8),
    PeerReads,
    PeerGoes,
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
    /// The bytes of the sends are numbered, and so are those of the peer.
    sent: usize,
    written: usize,
    read: Vec<u8>,
}

impl Place {
    pub(crate) fn call(&mut self, call: Call) {
        match (call, &mut self.0) {
            (Call::Create { negative: true }, _) => {
                // SAFETY: a negative number is allowed.
                assert!(unsafe { async_socket_create(null_mut(), INVALID_SOCKET) }.is_null());
            }
            (Call::Create { .. }, place @ None) => *place = Some(Socket::create()),
            (Call::Nothing, _) => nothing(),
            (Call::Destroy, _) => self.0.take().into_iter().for_each(Socket::destroy),
            (Call::DestroyInside, Some(socket)) if socket.opened => {
                self.0.take().into_iter().for_each(Socket::destroy_inside);
            }
            (call, Some(socket)) => socket.call(&call),
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
}

impl Socket {
    fn create() -> Self {
        let (ours, peer) = UnixStream::pair().expect("a pair");
        peer.set_nonblocking(true).expect("O_NONBLOCK");
        // SAFETY: ours to give away.
        let handle = unsafe { async_socket_create(null_mut(), ours.into_raw_fd()) };
        assert!(!handle.is_null());
        let (opens, sends, receives, read) = Default::default();
        Self { handle, peer: Some(peer), opened: false, opens, sends, receives, sent: 0, written: 0, read }
    }

    fn call(&mut self, call: &Call) {
        match call {
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
        self.receives.iter().chain(&self.sends).for_each(|operation| operation.soon());
        self.receives.push(last);
        self.check();
    }

    fn check(&mut self) {
        self.peer_reads();
        let numbered = self.read.iter().enumerate().all(|(number, byte)| *byte == mark(number));
        assert!(numbered, "the peer gets the bytes in the order of the sends");
        let sent: usize = self.sends.iter().map(|send| if send.once().0 == OK { send.size() } else { 0 }).sum();
        assert!(self.peer.is_none() || self.read.len() >= sent, "what is OK has been sent");
        let mut number = 0;
        for receive in &self.receives {
            let (result, count) = receive.once();
            assert!((result == OK) == (count > 0) && count <= receive.size(), "{result} with {count} bytes");
            let bytes = receive.buffers.iter().flatten().take(count);
            for byte in bytes {
                assert_eq!(*byte, mark(number), "what the peer wrote arrives in order, and none is lost");
                number += 1;
            }
        }
    }
}

fn mark(number: usize) -> u8 {
    u8::try_from(number % 251).expect("below 251")
}

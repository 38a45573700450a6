//! `async_socket_*`.

use crate::common::{Open, Platform, buffer, pair};
use crate::operation::{Seen, Which, destroy, failing, give_up, opened, receive, send, the_platform_works, works};
use crate::ports::reports;
use ASYNC_SOCKET_OPEN_RESULT::ASYNC_SOCKET_OPEN_OK;
use ASYNC_SOCKET_RECEIVE_RESULT::{ASYNC_SOCKET_RECEIVE_ABANDONED, ASYNC_SOCKET_RECEIVE_OK};
use ASYNC_SOCKET_SEND_RESULT::{ASYNC_SOCKET_SEND_ABANDONED, ASYNC_SOCKET_SEND_OK};
use ASYNC_SOCKET_SEND_SYNC_RESULT::{ASYNC_SOCKET_SEND_SYNC_ERROR, ASYNC_SOCKET_SEND_SYNC_OK};
use async_socket::*;
use std::io::Read;
use std::net::TcpStream;
use std::ptr::null_mut;

pub(crate) fn a_socket_is_created_or_the_descriptor_stays_the_callers(which: Which) -> usize {
    let _platform = Platform::start();
    let (descriptor, mut peer) = pair();
    // SAFETY: the descriptor is given away.
    let (mut socket, tried) = failing(which, || unsafe { async_socket_create(null_mut(), descriptor) });
    if socket.is_null() {
        // SAFETY: the descriptor is still the caller's, and is given away now.
        socket = unsafe { async_socket_create(null_mut(), descriptor) };
    }
    let seen = Seen::default();
    // SAFETY: a valid handle, and a context that outlives the call.
    assert_eq!(unsafe { async_socket_open_async(socket, Some(opened), seen.context()) }, 0);
    works(socket, &mut peer);
    destroy(socket);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "destroy closes the descriptor");
    tried
}

pub(crate) fn an_open_succeeds_or_can_be_tried_again(which: Which) -> usize {
    let _platform = Platform::start();
    let (descriptor, mut peer) = pair();
    // SAFETY: the descriptor is given away.
    let socket = unsafe { async_socket_create(null_mut(), descriptor) };
    let open = |seen: &Seen| {
        // SAFETY: a valid handle, and a context that outlives the call.
        unsafe { async_socket_open_async(socket, Some(opened), seen.context()) == 0 }
    };
    let (seen, again) = (Seen::default(), Seen::default());
    let (accepted, tried) = failing(which, || open(&seen));
    seen.ends_with(accepted, ASYNC_SOCKET_OPEN_OK as u32);
    assert_ne!(open(&again), accepted);
    works(socket, &mut peer);
    destroy(socket);
    tried
}

pub(crate) fn a_send_that_is_done_at_once(which: Which) -> usize {
    let _platform = Platform::start();
    let (mut socket, mut bytes, seen) = (Open::new(), *b"x", Seen::default());
    let (result, tried) = failing(which, || send(socket.handle, &[buffer(&mut bytes)], &seen));
    assert_eq!(result, ASYNC_SOCKET_SEND_SYNC_OK, "nothing has to be kept");
    assert_eq!(seen.result(), ASYNC_SOCKET_SEND_OK as u32);
    socket.peer.read_exact(&mut bytes).unwrap();
    works(socket.handle, &mut socket.peer);
    tried
}

/// More than the kernel takes at once.
pub(crate) const MUCH: usize = 16 << 20;

pub(crate) fn read_away(peer: &TcpStream, bytes: usize) {
    let mut peer = peer;
    let got = std::io::copy(&mut (&mut peer).take(bytes as u64), &mut std::io::sink()).unwrap();
    assert_eq!(got, bytes as u64);
}

pub(crate) fn a_send_that_has_to_wait(which: Which) -> usize {
    let _platform = Platform::start();
    let (mut socket, mut bytes, seen) = (Open::new(), vec![7; MUCH], Seen::default());
    let (result, tried) = failing(which, || send(socket.handle, &[buffer(&mut bytes)], &seen));
    if result == ASYNC_SOCKET_SEND_SYNC_OK {
        read_away(&socket.peer, MUCH);
        assert_eq!(seen.wait(), ASYNC_SOCKET_SEND_OK as u32);
        works(socket.handle, &mut socket.peer);
    } else {
        // A part is out, so the stream is broken.
        assert_eq!(result, ASYNC_SOCKET_SEND_SYNC_ERROR);
        let refused = Seen::default();
        assert_ne!(send(socket.handle, &[buffer(&mut bytes[..1])], &refused), ASYNC_SOCKET_SEND_SYNC_OK);
        drop(socket);
        assert_eq!((seen.calls(), refused.calls()), (0, 0));
    }
    tried
}

pub(crate) fn a_send_behind_another(which: Which) -> usize {
    let _platform = Platform::start();
    let (mut socket, mut bytes, mut more) = (Open::new(), vec![7; MUCH], *b"more");
    let (first, second) = (Seen::default(), Seen::default());
    assert_eq!(send(socket.handle, &[buffer(&mut bytes)], &first), ASYNC_SOCKET_SEND_SYNC_OK);
    let (result, tried) = failing(which, || send(socket.handle, &[buffer(&mut more)], &second));
    let accepted = result == ASYNC_SOCKET_SEND_SYNC_OK;
    read_away(&socket.peer, MUCH + if accepted { more.len() } else { 0 });
    assert_eq!(first.wait(), ASYNC_SOCKET_SEND_OK as u32);
    second.ends_with(accepted, ASYNC_SOCKET_SEND_OK as u32);
    works(socket.handle, &mut socket.peer);
    tried
}

pub(crate) fn a_send_of_several_buffers(which: Which) -> usize {
    let _platform = Platform::start();
    let (mut socket, mut one, mut two, seen) = (Open::new(), *b"one", *b"two", Seen::default());
    let list = [buffer(&mut one), buffer(&mut two)];
    let (result, tried) = failing(which, || send(socket.handle, &list, &seen));
    let accepted = result == ASYNC_SOCKET_SEND_SYNC_OK;
    seen.ends_with(accepted, ASYNC_SOCKET_SEND_OK as u32);
    read_away(&socket.peer, if accepted { 6 } else { 0 });
    works(socket.handle, &mut socket.peer);
    tried
}

/// Queues a receive behind `before` waiting receives, with some allocations failing. The receive then gets its bytes.
pub(crate) fn a_receive(which: Which, before: usize, is_there: bool, list: &mut [ASYNC_SOCKET_BUFFER]) -> usize {
    let _platform = Platform::start();
    let mut socket = Open::new();
    let waiting: Vec<Seen> = (0..before).map(|_| Seen::default()).collect();
    let mut byte = [0];
    for seen in &waiting {
        assert!(receive(socket.handle, &mut [buffer(&mut byte)], seen));
    }
    if is_there {
        socket.write_from_peer(b"x");
        // The port has then seen the bytes, so the receive has to schedule itself.
        let port = platform_get_completion_port();
        reports(port);
        give_up(port);
    }
    let seen = Seen::default();
    let (accepted, tried) = failing(which, || receive(socket.handle, list, &seen));
    for seen in &waiting {
        socket.write_from_peer(b"w");
        assert_eq!(seen.wait(), ASYNC_SOCKET_RECEIVE_OK as u32);
    }
    match (accepted, is_there) {
        (true, false) => socket.write_from_peer(b"x"),
        (false, true) => {
            let later = Seen::default();
            assert!(receive(socket.handle, &mut [buffer(&mut byte)], &later));
            assert_eq!(later.wait(), ASYNC_SOCKET_RECEIVE_OK as u32);
        }
        _ => {}
    }
    seen.ends_with(accepted, ASYNC_SOCKET_RECEIVE_OK as u32);
    works(socket.handle, &mut socket.peer);
    tried
}

pub(crate) fn a_receive_that_waits(which: Which) -> usize {
    a_receive(which, 0, false, &mut [buffer(&mut [0; 1])])
}

pub(crate) fn a_receive_of_what_is_there(which: Which) -> usize {
    a_receive(which, 0, true, &mut [buffer(&mut [0; 1])])
}

pub(crate) fn a_receive_behind_another(which: Which) -> usize {
    a_receive(which, 2, false, &mut [buffer(&mut [0; 1])])
}

pub(crate) fn a_receive_into_several_buffers(which: Which) -> usize {
    a_receive(which, 0, false, &mut [buffer(&mut [0; 1]), buffer(&mut [0; 2])])
}

pub(crate) unsafe extern "C" fn keep(_: ASYNC_SOCKET_HANDLE) {}

pub(crate) fn an_end_abandons_what_is_pending(
    which: Which,
    end: unsafe extern "C" fn(ASYNC_SOCKET_HANDLE),
    after: unsafe extern "C" fn(ASYNC_SOCKET_HANDLE),
) -> usize {
    let _platform = Platform::start();
    let (descriptor, peer) = pair();
    // SAFETY: the descriptor is given away.
    let socket = unsafe { async_socket_create(null_mut(), descriptor) };
    let open = Seen::default();
    // SAFETY: a valid handle, and a context that outlives the call.
    assert_eq!(unsafe { async_socket_open_async(socket, Some(opened), open.context()) }, 0);
    let (mut byte, mut bytes) = ([0], vec![7; MUCH]);
    let pending: [Seen; 4] = Default::default();
    assert!(receive(socket, &mut [buffer(&mut byte)], &pending[0]));
    assert!(receive(socket, &mut [buffer(&mut byte)], &pending[1]));
    assert_eq!(send(socket, &[buffer(&mut bytes)], &pending[2]), ASYNC_SOCKET_SEND_SYNC_OK);
    assert_eq!(send(socket, &[buffer(&mut bytes)], &pending[3]), ASYNC_SOCKET_SEND_SYNC_OK);
    // SAFETY: a valid handle, used again only if `end` does not free it.
    let ((), tried) = failing(which, || unsafe { end(socket) });
    let results = pending.each_ref().map(Seen::result);
    let (received, sent) = (ASYNC_SOCKET_RECEIVE_ABANDONED as u32, ASYNC_SOCKET_SEND_ABANDONED as u32);
    assert_eq!(results, [received, received, sent, sent]);
    // SAFETY: as above.
    unsafe { after(socket) };
    drop(peer);
    the_platform_works();
    tried
}

pub(crate) fn a_socket_that_is_not_open_is_destroyed(which: Which) -> usize {
    let _platform = Platform::start();
    let (descriptor, mut peer) = pair();
    // SAFETY: the descriptor is given away.
    let socket = unsafe { async_socket_create(null_mut(), descriptor) };
    let ((), tried) = failing(which, || destroy(socket));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "destroy closes the descriptor");
    tried
}

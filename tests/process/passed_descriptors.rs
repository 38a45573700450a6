//! Descriptors that a peer passes over a Unix socket make reads stop short; they neither stall nor fill the receiver.

use async_socket_linux::ReceiveResult;
use integration_tests::call::{engine, open, receive};
use integration_tests::process::{alone, descriptors};
use integration_tests::wire::{PatternChecker, pattern};
use integration_tests::{Peer, Transport, spawn};
use rstest::rstest;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

fn pass(peer: &Peer, bytes: &[u8], count: usize) {
    let something = std::fs::File::open("/dev/null").expect("/dev/null opens");
    let descriptors = vec![something.as_fd(); count];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(200))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(peer, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).expect("sendmsg");
    assert_eq!(sent, bytes.len());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn passed_descriptors_neither_stall_the_receiver_nor_stay_with_it(
    #[values(1, 3, 40)] buffers: usize,
    #[values(1, 200)] count: usize,
) {
    const PIECE: usize = 100;
    const PIECES: usize = 300;
    let _alone = alone();
    let (descriptor, mut peer) = Transport::Unix.pair();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    let before = descriptors();

    let writing = spawn("write", move || {
        for piece in 0..PIECES {
            let bytes = pattern(piece * PIECE, PIECE);
            if piece % 3 == 0 {
                pass(&peer, &bytes, count);
            } else {
                peer.write_all(&bytes).expect("the peer writes");
            }
        }
        peer
    });
    let mut checker = PatternChecker::default();
    while checker.position() < PIECE * PIECES {
        // Two receives wait at a time, so the second shows what the first left.
        let pending = [(); 2].map(|()| receive(&socket, vec![vec![0; 150]; buffers]));
        for pending in pending {
            if checker.position() == PIECE * PIECES {
                break;
            }
            let completion = pending.next();
            assert_eq!(completion.result, ReceiveResult::Ok);
            checker.check(&completion.buffers.concat()[..completion.bytes_received as usize]);
        }
    }

    let _peer = writing.join();
    assert_eq!(descriptors(), before);
}

//! Signals that interrupt every thread all the time disturb nothing.
#![allow(unsafe_code, reason = "installs a signal handler")]

use async_socket_linux::{AsyncSocket, ReceiveCompletion, ReceiveResult, SendResult};
use integration_tests::call::{engine, open, received};
use integration_tests::process::alone;
use integration_tests::wire::{PatternChecker, pattern};
use integration_tests::{Outbox, Socket, Transport, inbox, send, spawn};
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rstest::rstest;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: i32) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

fn take_all(socket: &Arc<Socket>, mut checker: PatternChecker, length: usize, done: Outbox<()>, buffer: Vec<u8>) {
    let again = Arc::clone(socket);
    let callback = move |completion: ReceiveCompletion<Vec<u8>>| {
        assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Ok, None));
        checker.check(received(&completion));
        if checker.position() < length {
            take_all(&again, checker, length, done, completion.buffers);
        } else {
            done.put(());
        }
    };
    socket.receive_async(buffer, callback).expect("receive_async");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_053, Tests_SRS_ASYNC_SOCKET_LINUX_11_092, Tests_SRS_ASYNC_SOCKET_LINUX_11_101
#[rstest]
fn a_storm_of_signals_disturbs_no_transfer(#[values(Transport::TcpV4, Transport::Unix)] transport: Transport) {
    let _alone = alone();
    const LENGTH: usize = 32 << 20;
    // Without SA_RESTART, so that system calls are interrupted.
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only adds to an atomic number, which is allowed in one.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();

    let engine = engine(1);
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine, descriptor);
    let (done, thread) = inbox();
    let takes_signals = move |_| {
        // The port's thread blocks all signals, unless the program wants it otherwise.
        let mut storm = SigSet::empty();
        storm.add(Signal::SIGUSR1);
        storm.thread_unblock().expect("a mask");
        done.put(pthread_self());
    };
    socket.receive_async([0_u8; 1], takes_signals).unwrap();
    peer.write_all(b"x").unwrap();
    let port = thread.only();
    let caller = pthread_self();
    let over = Arc::new(AtomicBool::new(false));
    let storm = {
        let over = Arc::clone(&over);
        spawn("storm", move || {
            while !over.load(Ordering::Relaxed) {
                // Both threads live until the storm is over.
                pthread_kill(port, Signal::SIGUSR1).expect("the port's thread");
                pthread_kill(caller, Signal::SIGUSR1).expect("the caller's thread");
                std::thread::sleep(Duration::from_micros(20));
            }
        })
    };

    let (done, arrived) = inbox();
    take_all(&socket, PatternChecker::default(), LENGTH, done, vec![0; 10_000]);
    let mut writer = peer.try_clone();
    let writing = spawn("write", move || writer.write_all(&pattern(0, LENGTH)).expect("the peer writes"));
    let reading = spawn("read", move || {
        let mut checker = PatternChecker::default();
        let mut chunk = vec![0; 100_000];
        while checker.position() < LENGTH {
            match peer.read(&mut chunk) {
                Ok(read) => checker.check(&chunk[..read]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted),
            }
        }
    });
    let mut sent = Vec::new();
    for start in (0..LENGTH).step_by(1 << 20) {
        let payload = vec![pattern(start, 1 << 19), pattern(start + (1 << 19), 1 << 19)];
        sent.push(send(&socket, payload));
    }

    reading.join();
    writing.join();
    arrived.next();
    for sent in sent {
        let completion = sent.only();
        assert_eq!((completion.result, completion.os_error()), (SendResult::Ok, None));
    }
    over.store(true, Ordering::Relaxed);
    storm.join();
    assert!(SIGNALS.load(Ordering::Relaxed) > 100, "{SIGNALS:?}");
}

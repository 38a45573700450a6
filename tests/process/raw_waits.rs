//! Raw waits on real descriptors: the waits that fire, numbers that are reused, and ports that drop each other.
#![allow(unsafe_code, reason = "calls the C ABI")]

use async_socket::{
    COMPLETION_PORT_EPOLL_ACTION, COMPLETION_PORT_HANDLE, completion_port_add, completion_port_create,
    completion_port_dec_ref, completion_port_remove,
};
use completion_port::{Action, CompletionPort, Interest, OneShots};
use integration_tests::call::{engine, open, receive};
use integration_tests::process::{alone, epoll_entries, port_threads};
use integration_tests::{Inbox, eventually, inbox};
use rstest::rstest;
use rustix::io::{Errno, dup2};
use std::ffi::c_void;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;
use test_doubles::Number;

const IN: i32 = 0x1;

type Waits = (Number, Box<dyn FnOnce(Action) + Send>);
type Waiting = OneShots<Waits>;

fn waiting() -> Arc<Waiting> {
    Arc::new(OneShots::new(CompletionPort::create().expect("the port is created")))
}

fn add(waiting: &Waiting, descriptor: &impl AsFd, interest: Interest) -> Inbox<Action> {
    try_add(waiting, descriptor, interest).expect("the kernel accepts it")
}

fn try_add(waiting: &Waiting, descriptor: &impl AsFd, interest: Interest) -> std::io::Result<Inbox<Action>> {
    let (tell, told) = inbox();
    waiting.add(interest, (Number::of(descriptor), Box::new(move |action| tell.put(action))))?;
    Ok(told)
}

/// Waits until the only port's thread sleeps. Returns how often the thread has gone to sleep.
fn sleeps() -> u64 {
    let thread = *port_threads().first().expect("the port's thread");
    let read = || {
        let status = fs::read_to_string(format!("/proc/self/task/{thread}/status")).expect("the thread lives");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).expect("the kernel counts them")
    };
    let mut count = read();
    eventually("the port's thread sleeps", || {
        thread::sleep(Duration::from_millis(30));
        let before = std::mem::replace(&mut count, read());
        before == count
    });
    count
}

// Tests_SRS_COMPLETION_PORT_01_120
#[test]
fn bytes_that_nothing_waits_for_wake_no_thread() {
    let _alone = alone();
    eventually("the other tests' threads end", || port_threads().is_empty());
    let waiting = waiting();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let told = add(&waiting, &ours, Interest::IN);
    peer.write_all(b"x").unwrap();
    assert_eq!(told.only(), Action::In);
    let before = sleeps();

    for _ in 0..2000 {
        peer.write_all(b"y").unwrap();
        (&ours).read_exact(&mut [0]).unwrap();
    }
    drop(peer);

    assert_eq!(sleeps(), before);
}

// Tests_SRS_COMPLETION_PORT_01_121
#[test]
fn each_of_several_waits_is_served_and_in_between_nothing_spins() {
    let _alone = alone();
    eventually("the other tests' threads end", || port_threads().is_empty());
    let waiting = waiting();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let reads = [(); 2].map(|()| add(&waiting, &ours, Interest::IN));
    let ends = add(&waiting, &ours, Interest::READ_HANG_UP);
    assert_eq!(add(&waiting, &ours, Interest::OUT).only(), Action::Out);
    let before = sleeps();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(sleeps(), before, "writable all the time, but nothing waits for that");

    peer.write_all(b"x").unwrap();
    assert_eq!(reads.map(Inbox::only), [Action::In; 2]);
    let before = sleeps();
    peer.write_all(b"y").unwrap();
    assert_eq!(sleeps(), before, "readable, but only the end is waited for");
    assert!(ends.is_pending());

    drop(peer);
    assert_eq!(ends.only(), Action::RdHup);
}

// Tests_SRS_COMPLETION_PORT_01_122
#[test]
fn a_file_that_comes_back_under_its_number_again_and_again_is_watched() {
    let _alone = alone();
    let waiting = waiting();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let copy = OwnedFd::from(ours);
    let (other, mut other_peer) = UnixStream::pair().unwrap();
    let mut number = copy.try_clone().unwrap();
    for round in 0..20 {
        let told = add(&waiting, &number, Interest::IN);
        if round % 2 == 0 {
            waiting.remove(number.as_fd());
            assert_eq!(told.only(), Action::Abandoned);
            let again = add(&waiting, &number, Interest::IN);
            peer.write_all(b"x").unwrap();
            assert_eq!(again.only(), Action::In);
        } else {
            peer.write_all(b"x").unwrap();
            assert_eq!(told.only(), Action::In);
        }
        assert_eq!(rustix::io::read(&number, &mut [0]), Ok(1));
        // Another descriptor has the number for a while. In some rounds a wait is added for that descriptor.
        dup2(&other, &mut number).unwrap();
        if round % 3 == 0 {
            let told = add(&waiting, &number, Interest::IN);
            other_peer.write_all(b"x").unwrap();
            assert_eq!(told.only(), Action::In);
            assert_eq!(rustix::io::read(&number, &mut [0]), Ok(1));
        } else {
            waiting.remove(number.as_fd());
        }
        dup2(&copy, &mut number).unwrap();
    }
    assert!(epoll_entries(number.as_raw_fd()).len() <= 2, "one for each file");
}

// Tests_SRS_COMPLETION_PORT_01_123
#[test]
fn a_sockets_descriptor_is_refused_and_the_socket_goes_on() {
    let _alone = alone();
    let engine = engine(1);
    let (descriptor, mut peer) = UnixStream::pair().unwrap();
    let number = Number::of(&descriptor);
    let socket = open(&engine, descriptor.into());
    let waiting = Waiting::new(engine.completion_port());

    let error = try_add(&waiting, &number, Interest::IN).unwrap_err();

    assert_eq!(error.raw_os_error(), Some(Errno::EXIST.raw_os_error()));
    for _ in 0..3 {
        let received = receive(&socket, vec![0; 8]);
        peer.write_all(b"x").unwrap();
        assert_eq!(received.only().bytes_received, 1);
    }
}

/// What the callbacks of two ports share.
struct Two {
    ports: [AtomicPtr<c_void>; 2],
    both: Barrier,
    returned: AtomicUsize,
}

static TWO: std::sync::LazyLock<Two> = std::sync::LazyLock::new(|| Two {
    ports: Default::default(),
    both: Barrier::new(2),
    returned: AtomicUsize::new(0),
});

unsafe extern "C" fn give_up_the_other(other: *mut c_void, _: COMPLETION_PORT_EPOLL_ACTION) {
    TWO.both.wait();
    let port = TWO.ports[other.addr()].load(Ordering::Acquire);
    // SAFETY: the only reference, which nothing else uses.
    unsafe { completion_port_dec_ref(port.cast()) };
    TWO.returned.fetch_add(1, Ordering::Release);
}

// Tests_SRS_COMPLETION_PORT_01_124
#[test]
fn callbacks_on_two_ports_that_give_up_the_last_reference_to_the_other_both_return() {
    let _alone = alone();
    let mut pairs = [(); 2].map(|()| UnixStream::pair().unwrap());
    for (index, (ours, _)) in pairs.iter().enumerate() {
        let port: COMPLETION_PORT_HANDLE = completion_port_create();
        TWO.ports[index].store(port.cast(), Ordering::Release);
        let other = std::ptr::without_provenance_mut(1 - index);
        // SAFETY: a valid port; the context is a number.
        let added = unsafe { completion_port_add(port, IN, ours.as_raw_fd(), Some(give_up_the_other), other) };
        assert_eq!(added, 0);
    }

    pairs.iter_mut().for_each(|(_, peer)| peer.write_all(b"x").unwrap());

    eventually("both return", || TWO.returned.load(Ordering::Acquire) == 2);
    eventually("both threads end", || port_threads().is_empty());
}

struct Chain {
    port: COMPLETION_PORT_HANDLE,
    own: i32,
    other: i32,
    calls: AtomicUsize,
}

unsafe extern "C" fn removes_everything(context: *mut c_void, _: COMPLETION_PORT_EPOLL_ACTION) {
    // SAFETY: it outlives the port.
    let chain = unsafe { &*context.cast::<Chain>() };
    // SAFETY: the test's reference; the descriptors stay open.
    unsafe { completion_port_remove(chain.port, chain.own) };
    // SAFETY: as above.
    unsafe { completion_port_remove(chain.port, chain.other) };
    chain.calls.fetch_add(1, Ordering::Release);
}

// Tests_SRS_COMPLETION_PORT_01_125
#[rstest]
#[case::on_the_ports_thread(true)]
#[case::on_the_thread_that_removes(false)]
fn callbacks_that_remove_each_others_descriptors_return(#[case] event: bool) {
    let _alone = alone();
    let (mut first, second) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let chain = Chain {
        port: completion_port_create(),
        own: first.0.as_raw_fd(),
        other: second.0.as_raw_fd(),
        calls: AtomicUsize::new(0),
    };
    let context = (&raw const chain).cast_mut().cast();
    for descriptor in [chain.own, chain.other] {
        // SAFETY: a valid port; the context outlives it.
        let added = unsafe { completion_port_add(chain.port, IN, descriptor, Some(removes_everything), context) };
        assert_eq!(added, 0);
    }

    if event {
        first.1.write_all(b"x").unwrap();
    } else {
        // SAFETY: a valid port and descriptor.
        unsafe { completion_port_remove(chain.port, chain.own) };
    }

    eventually("both callbacks return", || chain.calls.load(Ordering::Acquire) == 2);
    // SAFETY: the only reference.
    unsafe { completion_port_dec_ref(chain.port) };
}

//! Ports whose epoll instance other code closes. Each test runs in a process of its own.
#![allow(unsafe_code, reason = "closes descriptors that it does not own")]

use completion_port::sys::Errno;
use completion_port::{
    Action, AddError, ClaimError, CompletionPort, Direction, Interest, OneShots, PortExt, RegisterError, Registration,
};
use integration_tests::port::{A_WHILE, Transfers, port, reads, settled, socket, start, watched_by};
use integration_tests::process::{cpu_time, is_child, is_open, port_threads, run_child};
use integration_tests::{eventually, inbox, within};
use nix::libc;
use rustix::event::epoll;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};
use test_doubles::Number;

/// Closes a number that belongs to a port, and gives it to another epoll instance if there is one.
fn close(number: RawFd, successor: Option<&OwnedFd>) {
    let result = match successor {
        // SAFETY: other code does this too, and the port must cope.
        None => unsafe { libc::close(number) },
        // SAFETY: as above.
        Some(successor) => unsafe { libc::dup2(successor.as_raw_fd(), number) },
    };
    assert_ne!(result, -1);
}

fn epoll() -> OwnedFd {
    epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance")
}

/// The numbers of the only port's epoll instance and eventfd.
fn numbers() -> [RawFd; 2] {
    let links = fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    let named: Vec<(RawFd, String)> = links
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?.display().to_string();
            Some((entry.file_name().to_str()?.parse().ok()?, link))
        })
        .collect();
    ["[eventpoll]", "[eventfd]"].map(|kind| named.iter().find(|(_, link)| link.ends_with(kind)).expect("it is open").0)
}

fn pair() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (ours.into(), theirs)
}

// Tests_SRS_COMPLETION_PORT_01_091, Tests_SRS_COMPLETION_PORT_01_093, Tests_SRS_COMPLETION_PORT_01_094
#[test]
fn a_port_whose_epoll_instance_is_closed_ends_what_waits_and_uses_the_number_no_more() {
    if !is_child() {
        return run_child("a_port_whose_epoll_instance_is_closed_ends_what_waits_and_uses_the_number_no_more", |_| {});
    }
    let (calls, port) = port();
    let [epoll_number, eventfd_number] = numbers();
    let (registration, _peer) = socket(&port);
    let reading = [(); 2].map(|()| start(&registration, Direction::In, reads(1)));
    let waiting = OneShots::<(Number, Box<dyn FnOnce(Action) + Send>), _>::new(port.clone());
    let (raw, _raw_peer) = pair();
    let (tell, told) = inbox();
    waiting.add(Interest::IN, (Number::of(&raw), Box::new(move |action| tell.put(action)))).unwrap();
    settled(&calls);
    let thread = *port_threads().first().expect("the port's thread");
    assert_eq!(registration.try_claim(Direction::In).err(), Some(ClaimError::InUse));

    let begin = Instant::now();
    close(epoll_number, None);

    assert_eq!(reading.map(|done| done.only().action), [Action::Error; 2]);
    assert_eq!(told.only(), Action::Error);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let successor = epoll();
    close(epoll_number, Some(&successor));
    for direction in [Direction::In, Direction::Out] {
        assert_eq!(registration.add(direction, reads(1)).map_err(|it| it.error), Err(AddError::PortFailed));
        assert_eq!(registration.try_claim(direction).err(), Some(ClaimError::PortFailed));
    }
    let refused = waiting.add(Interest::IN, (Number::of(&raw), Box::new(|_| ()))).expect_err("the port has failed");
    assert_eq!(refused.raw_os_error(), Some(Errno::BADF.raw_os_error()));
    let late = Registration::new(port.clone(), Transfers::default(), pair().0);
    let RegisterError::Kernel(refused) = late.register(|| ()).expect_err("the port has failed") else {
        panic!("it is the port that refuses")
    };
    assert_eq!(refused.raw_os_error(), Some(Errno::BADF.raw_os_error()));
    let before = cpu_time(thread);
    thread::sleep(Duration::from_millis(300));
    assert!(cpu_time(thread) - before < Duration::from_millis(50), "it spins");

    drop((registration, waiting, late, port));
    eventually("the thread has ended", || port_threads().is_empty());
    thread::sleep(A_WHILE);
    assert_eq!([epoll_number, eventfd_number].map(is_open), [true; 2], "neither number is closed");
    assert_eq!(watched_by(epoll_number), 0);
}

// Tests_SRS_COMPLETION_PORT_01_092, Tests_SRS_COMPLETION_PORT_01_094
#[test]
fn the_last_drop_does_not_wait_for_a_thread_that_it_cannot_wake_and_leaves_the_numbers_alone() {
    if !is_child() {
        let this = "the_last_drop_does_not_wait_for_a_thread_that_it_cannot_wake_and_leaves_the_numbers_alone";
        return run_child(this, |_| {});
    }
    let port = CompletionPort::create().unwrap();
    let [epoll_number, eventfd_number] = numbers();
    let (tell, told) = inbox();
    port.post(move || tell.put(())).map_err(|refused| refused.error).unwrap();
    told.only();
    // The thread now sleeps for a second.
    thread::sleep(A_WHILE);
    let successor = epoll();
    close(epoll_number, Some(&successor));

    let begin = Instant::now();
    within("the last drop", move || drop(port));

    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    assert!(!port_threads().is_empty(), "the thread sleeps still");
    assert_eq!(watched_by(epoll_number), 0);
    eventually("the thread has ended", || port_threads().is_empty());
    thread::sleep(A_WHILE);
    assert_eq!([epoll_number, eventfd_number].map(is_open), [true; 2], "neither number is closed");
}

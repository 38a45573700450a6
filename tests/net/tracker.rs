//! The graceful end of a server: wait for what is open, then cut it off.

use async_socket_linux::{AsyncSocket, AsyncSocketLinux};
use async_socket_net::{Listener, Tracked, Tracker};
use integration_tests::call::{engine, round_trip};
use integration_tests::process::this_thread;
use integration_tests::{LIMIT, inbox};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

// Tests_SRS_ASYNC_SOCKET_NET_01_017, Tests_SRS_ASYNC_SOCKET_NET_01_018
#[test]
fn finishing_ends_when_the_last_connection_does_and_cuts_nothing_off() {
    let engine = engine(1);
    let tracker = Tracker::new();
    let never = Arc::new(());
    let mut tracked: Vec<Tracked> = (0..3)
        .map(|_| {
            let never = Arc::clone(&never);
            tracker.track(move || assert_eq!(Arc::strong_count(&never), 0, "not cut off"))
        })
        .collect();
    assert_eq!(tracker.open(), 3);
    let (done, finished) = inbox();
    tracker.finish(&engine.completion_port(), LIMIT * 10, move |how| done.put((this_thread(), how))).unwrap();
    drop(tracked.pop());
    round_trip(&engine);
    assert!(finished.is_pending(), "two are open");

    drop(tracked);

    let (thread, how) = finished.only();
    assert_ne!(thread, this_thread());
    assert_eq!(how.cut_off, 0);
    assert_eq!(Arc::strong_count(&never), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_018
#[test]
fn finishing_ends_at_once_if_nothing_is_open_even_if_the_tracker_is_dropped() {
    let engine = engine(1);
    let (done, finished) = inbox();

    Tracker::new().finish(&engine.completion_port(), LIMIT * 10, move |how| done.put(how)).unwrap();

    assert_eq!(finished.only().cut_off, 0);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_016, Tests_SRS_ASYNC_SOCKET_NET_01_019
#[test]
fn a_server_stops_accepting_and_cuts_off_what_is_open_at_the_deadline() {
    type Connection = (Arc<AsyncSocketLinux>, Tracked);
    let engine = engine(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let tracker = Tracker::new();
    let (done, connections) = inbox::<Connection>();
    let ours = tracker.clone();
    let listener = Listener::new(&engine, listener, move |accepted: crate::Outcome| {
        let socket = Arc::new(accepted.unwrap().open().unwrap());
        let weak = Arc::downgrade(&socket);
        let tracked = ours.track(move || weak.upgrade().iter().for_each(|socket| socket.close()));
        done.put((socket, tracked));
    })
    .unwrap();
    let mut clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    let open = connections.take(2);
    assert_eq!(tracker.open(), 2);

    let (done, finished) = inbox();
    let stopped = done.clone();
    listener.stop(move || stopped.put(None));
    assert_eq!(finished.next(), None);
    let began = Instant::now();
    tracker.finish(&engine.completion_port(), Duration::from_millis(100), move |how| done.put(Some(how))).unwrap();

    assert_eq!(finished.only().unwrap().cut_off, 2);
    assert!(began.elapsed() >= Duration::from_millis(100));
    for client in &mut clients {
        client.set_read_timeout(Some(LIMIT)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    drop(open);
}

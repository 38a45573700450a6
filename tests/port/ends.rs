//! How descriptors end: half-closes, hang-ups, resets and errors of pipes and sockets.

use completion_port::sys::Errno;
use completion_port::{Action, Direction};
use integration_tests::port::{Port, Watched, fill, port, reads, round_trip, settled, socket, start, watch, writes};
use integration_tests::{Inbox, Transport, eventually, inbox};
use rstest::rstest;
use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
use rustix::net::SendFlags;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use test_doubles::{PortSyscall, ScriptedPort};

// Tests_SRS_COMPLETION_PORT_01_031
#[rstest]
#[case::tcp(Transport::TcpV4)]
#[case::unix(Transport::Unix)]
fn bytes_come_before_the_end_and_the_other_direction_still_works(#[case] transport: Transport) {
    let port = port().1;
    let (ours, mut peer) = transport.pair();
    let registration = watch(&port, ours);
    let [first, second, third] = [(); 3].map(|()| start(&registration, Direction::In, reads(2)));

    peer.write_all(b"abc").unwrap();
    peer.finish();

    let got = [first, second, third].map(Inbox::only);
    assert_eq!(got.each_ref().map(|done| done.action), [Action::In; 3]);
    assert_eq!(got.map(|done| done.bytes), [b"ab".to_vec(), b"c".to_vec(), vec![]]);
    start(&registration, Direction::Out, writes("still")).only();
    assert_eq!(peer.read_bytes(5), b"still");
}

// Tests_SRS_COMPLETION_PORT_01_031
#[test]
fn a_half_close_does_not_touch_what_waits_to_be_sent() {
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    start(&registration, Direction::Out, writes("x")).only();
    let sending = start(&registration, Direction::Out, writes(vec![b's'; 4 << 20]));
    settled(&calls);
    assert!(sending.is_pending(), "the kernel does not take so much at once");
    let before = registration.handler().attempts();

    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(start(&registration, Direction::In, reads(1)).only().result, Some(Ok(0)));
    settled(&calls);
    assert!(sending.is_pending());
    assert_eq!(registration.handler().attempts(), before + 1, "only the read was attempted");

    let mut bytes = vec![0; 1 + (4 << 20)];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(sending.only().action, Action::Out);
}

/// A registered TCP socket, and its peer.
fn tcp(port: &Port) -> (Arc<Watched>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let peer = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
    (watch(port, listener.accept().expect("accepted").0), peer)
}

/// Sends a byte of urgent data, and waits until the port has got the event.
fn send_urgently(calls: &ScriptedPort, peer: &TcpStream) {
    let waits = settled(calls);
    assert_eq!(rustix::net::send(peer, b"!", SendFlags::OOB), Ok(1));
    eventually("the event", || calls.made(PortSyscall::EpollWait) > waits);
    settled(calls);
}

// Tests_SRS_COMPLETION_PORT_01_031
#[test]
fn urgent_data_of_which_nothing_can_be_read_attempts_no_read() {
    // EPOLLOUT | EPOLLPRI
    let (calls, port) = port();
    let (registration, peer) = tcp(&port);
    let reading = start(&registration, Direction::In, reads(1));

    send_urgently(&calls, &peer);

    assert_eq!(registration.handler().attempts(), 0);
    assert!(reading.is_pending());
}

// Tests_SRS_COMPLETION_PORT_01_032
#[test]
fn an_event_without_hang_up_and_error_is_none() {
    // EPOLLPRI, because the socket's send buffer is full.
    let (calls, port) = port();
    let (registration, peer) = tcp(&port);
    settled(&calls);
    let claim = registration.try_claim(Direction::Out).unwrap();
    fill(claim.descriptor());
    let (tell, writing) = inbox();
    claim.queue(writes("x").then(move |done| tell.put(done.action))).unwrap();
    let reading = start(&registration, Direction::In, reads(1));

    send_urgently(&calls, &peer);

    assert!(writing.is_pending() && reading.is_pending());
}

// Tests_SRS_COMPLETION_PORT_01_031
#[test]
fn bytes_come_before_a_reset_and_both_directions_learn_of_it_themselves() {
    let (calls, port) = port();
    let (ours, mut peer) = Transport::TcpV4.pair();
    let registration = watch(&port, ours);
    peer.write_all(b"last words").unwrap();
    peer.reset();
    round_trip(&port);
    settled(&calls);

    let bytes = start(&registration, Direction::In, reads(100)).only();
    let reset = start(&registration, Direction::In, reads(100)).only();
    let sending = start(&registration, Direction::Out, writes("x")).only();

    assert_eq!((bytes.action, bytes.bytes.as_slice()), (Action::In, b"last words".as_slice()));
    assert_eq!((reset.action, reset.result), (Action::In, Some(Err(Errno::CONNRESET))));
    assert_eq!((sending.action, sending.result), (Action::Out, Some(Err(Errno::PIPE))));
}

// Tests_SRS_COMPLETION_PORT_01_031
#[test]
fn a_pipe_without_reader_that_has_room_is_told_by_the_write() {
    // EPOLLOUT | EPOLLERR
    let port = port().1;
    let (reader, writer) = std::io::pipe().unwrap();
    let registration = watch(&port, writer);
    drop(reader);

    let done = start(&registration, Direction::Out, writes("x")).only();

    assert_eq!((done.action, done.result), (Action::Out, Some(Err(Errno::PIPE))));
}

// Tests_SRS_COMPLETION_PORT_01_031
#[test]
fn a_pipe_without_writer_gives_its_bytes_before_its_hang_up() {
    // EPOLLIN | EPOLLHUP, or EPOLLHUP alone if the pipe is empty already.
    let port = port().1;
    let (reader, mut writer) = std::io::pipe().unwrap();
    let registration = watch(&port, reader);
    writer.write_all(b"abc").unwrap();
    drop(writer);

    let [first, second] = [(); 2].map(|()| start(&registration, Direction::In, reads(10)).only());

    assert_eq!((first.action, first.bytes.as_slice()), (Action::In, b"abc".as_slice()));
    assert_eq!((second.action, second.result), (Action::In, Some(Ok(0))));
}

// Tests_SRS_COMPLETION_PORT_01_032
#[test]
fn a_hang_up_alone_reaches_every_waiting_operation_in_one_order() {
    // The read end of an empty pipe: EPOLLHUP and nothing else. It is never writable.
    let (calls, port) = port();
    let (reader, writer) = std::io::pipe().unwrap();
    let registration = watch(&port, reader);
    let (tell, told) = inbox();
    for number in 0..10 {
        let direction = if number % 3 == 0 { Direction::Out } else { Direction::In };
        let tell = tell.clone();
        registration.add(direction, reads(1).then(move |done| tell.put((number, done.action)))).unwrap();
    }
    settled(&calls);

    drop(writer);

    assert_eq!(told.take(10), (0..10).map(|number| (number, Action::Error)).collect::<Vec<_>>());
    assert_eq!(start(&registration, Direction::In, reads(1)).only().action, Action::Error, "it is remembered");
}

// Tests_SRS_COMPLETION_PORT_01_032
#[test]
fn an_error_alone_reaches_the_operations_that_wait() {
    // The write end of a full pipe: EPOLLERR and nothing else.
    let (calls, port) = port();
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    fill(&writer);
    let registration = watch(&port, writer);
    let pending = [(); 2].map(|()| start(&registration, Direction::Out, writes("x")));
    settled(&calls);

    drop(reader);

    assert_eq!(pending.map(|done| done.only().action), [Action::Error; 2]);
}

// Tests_SRS_COMPLETION_PORT_01_032, Tests_SRS_COMPLETION_PORT_01_036
#[test]
fn an_error_alone_reaches_operations_that_come_later() {
    let (calls, port) = port();
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    fill(&writer);
    let registration = watch(&port, writer);
    drop(reader);
    settled(&calls);

    for _ in 0..2 {
        assert_eq!(start(&registration, Direction::Out, writes("x")).only().action, Action::Error);
    }
}

// Tests_SRS_COMPLETION_PORT_01_030, Tests_SRS_COMPLETION_PORT_01_032
#[test]
fn a_fifo_that_gets_a_new_writer_has_not_hung_up_any_more() {
    let (calls, port) = port();
    let path = std::env::temp_dir().join(format!("completion-port-fifo-{}", std::process::id()));
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    let reader = open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let open_writer = || File::from(open(&path, OFlags::WRONLY, Mode::empty()).expect("the reader is there"));
    let registration = watch(&port, reader);
    drop(open_writer());
    assert_eq!(start(&registration, Direction::In, reads(9)).only().action, Action::Error);

    let mut writer = open_writer();
    std::fs::remove_file(&path).unwrap();
    writer.write_all(b"new").unwrap();
    round_trip(&port);
    let first = start(&registration, Direction::In, reads(9)).only();
    let second = start(&registration, Direction::In, reads(9));
    settled(&calls);

    assert_eq!((first.action, first.bytes.as_slice()), (Action::In, b"new".as_slice()));
    assert!(second.is_pending(), "the writer is there still");
    writer.write_all(b"er").unwrap();
    assert_eq!(second.only().bytes, b"er");
}

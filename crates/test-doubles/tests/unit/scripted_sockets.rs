//! `ScriptedSockets`: each call does what its script says, and is recorded.

use async_socket_linux::SocketSyscalls;
use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::channel;
use test_doubles::{ScriptedSockets, SocketCall, Step, any_descriptor};

const SEND: SendFlags = SendFlags::NOSIGNAL;
const RECV: RecvFlags = RecvFlags::DONTWAIT;

#[test]
fn sends_follow_their_script_and_then_take_everything() {
    let (sys, socket) = (ScriptedSockets::new(), any_descriptor());
    sys.script_send([Step::Takes(2), Step::Fails(Errno::PIPE)]);
    sys.script_send([Step::Takes(100)]);

    assert_eq!(sys.send(socket.as_fd(), b"abc", SEND), Ok(2));
    assert_eq!(sys.send(socket.as_fd(), b"lost", SEND), Err(Errno::PIPE));
    assert_eq!(sys.sendmsg(socket.as_fd(), &[IoSlice::new(b"de"), IoSlice::new(b"f")], SEND), Ok(3));
    assert_eq!(sys.send(socket.as_fd(), b"ghi", SEND), Ok(3));

    assert_eq!(sys.sent(), b"abdefghi");
    assert_eq!(
        sys.calls(),
        [
            SocketCall::Send(b"abc".to_vec(), SEND),
            SocketCall::Send(b"lost".to_vec(), SEND),
            SocketCall::SendMsg(vec![b"de".to_vec(), b"f".to_vec()], SEND),
            SocketCall::Send(b"ghi".to_vec(), SEND),
        ]
    );
}

#[test]
fn receives_follow_their_script_and_then_find_nothing() {
    let (sys, socket) = (ScriptedSockets::new(), any_descriptor());
    sys.script_recv([Step::bytes("abc"), Step::bytes(""), Step::Fails(Errno::CONNRESET), Step::bytes("defgh")]);
    let (mut one, mut two) = ([0; 2], [0; 4]);

    assert_eq!(sys.recv(socket.as_fd(), &mut one, RECV), Ok(2), "what does not fit is lost");
    assert_eq!(one, *b"ab");
    assert_eq!(sys.recv(socket.as_fd(), &mut one, RECV), Ok(0));
    assert_eq!(sys.recv(socket.as_fd(), &mut one, RECV), Err(Errno::CONNRESET));
    assert_eq!(sys.recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)], RECV), Ok(5));
    assert_eq!((one, two), (*b"de", *b"fgh\0"));
    assert_eq!(sys.recv(socket.as_fd(), &mut one, RECV), Err(Errno::AGAIN));

    assert_eq!(sys.calls()[3], SocketCall::RecvMsg(vec![2, 4], RECV));
    assert_eq!(sys.count(|call| *call == SocketCall::Recv(2, RECV)), 4);
}

#[test]
fn sends_and_receives_have_scripts_of_their_own() {
    let (sys, socket) = (ScriptedSockets::new(), any_descriptor());
    sys.script_send([Step::Takes(1)]);
    sys.script_recv([Step::bytes("x")]);

    assert_eq!(sys.recv(socket.as_fd(), &mut [0], RECV), Ok(1));
    assert_eq!(sys.send(socket.as_fd(), b"ab", SEND), Ok(1));
}

#[test]
fn the_kind_of_socket_is_as_scripted_and_then_unknown() {
    let (sys, socket) = (ScriptedSockets::new(), any_descriptor());
    sys.script_short_read_drains(Err(Errno::INTR));
    sys.script_short_read_drains(Ok(true));

    let answers = [(); 3].map(|()| sys.short_read_drains(socket.as_fd()));

    assert_eq!(answers, [Err(Errno::INTR), Ok(true), Ok(false)]);
}

#[test]
fn errors_and_error_messages_are_there_until_taken() {
    let (sys, socket) = (ScriptedSockets::new(), any_descriptor());
    sys.set_error(Errno::TIMEDOUT);
    sys.queue_error_messages(1);

    assert_eq!(sys.take_error(socket.as_fd()), Ok(Some(Errno::TIMEDOUT)));
    assert_eq!(sys.take_error(socket.as_fd()), Ok(None));
    assert_eq!(sys.receive_error_message(socket.as_fd()), Ok(()));
    assert_eq!(sys.receive_error_message(socket.as_fd()), Err(Errno::AGAIN));
}

#[test]
fn a_close_is_recorded() {
    let (sys, socket) = (ScriptedSockets::new(), any_descriptor());
    let number = socket.as_raw_fd();

    sys.close(socket);

    assert_eq!(sys.calls(), [SocketCall::Close(number)]);
}

#[test]
fn a_hook_runs_once_in_the_middle_of_the_next_call_of_its_kind_and_may_make_calls() {
    let (sys, socket) = (ScriptedSockets::new(), any_descriptor());
    let (inner, note_sys) = (any_descriptor(), sys.clone());
    let (note, noted) = channel();
    sys.during_next(
        |call| matches!(call, SocketCall::Send(..)),
        move || {
            let before = note_sys.sent();
            note_sys.take_error(inner.as_fd()).expect("no error is pending");
            note.send(before).expect("the test listens");
        },
    );

    sys.recv(socket.as_fd(), &mut [0], RECV).expect_err("nothing is there");
    noted.try_recv().expect_err("that was another kind of call");
    sys.send(socket.as_fd(), b"abc", SEND).expect("takes all");
    assert_eq!(noted.try_recv(), Ok(vec![]), "before the send took anything");
    sys.send(socket.as_fd(), b"def", SEND).expect("takes all");
    noted.try_recv().expect_err("only once");

    let order = [SocketCall::Send(b"abc".to_vec(), SEND), SocketCall::TakeError];
    assert_eq!(sys.calls()[1..3], order);
}

#[test]
#[should_panic(expected = "a send cannot deliver bytes")]
fn a_script_of_the_wrong_kind_is_the_tests_mistake() {
    let (sys, socket) = (ScriptedSockets::new(), any_descriptor());
    sys.script_send([Step::bytes("x")]);

    let _ = sys.send(socket.as_fd(), b"x", SEND);
}

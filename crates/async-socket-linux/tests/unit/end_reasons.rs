//! Why an operation ended, as its completion says.

use crate::common::{Fixture, Outcome};
use async_socket_linux::sys::Errno;
use async_socket_linux::{AsyncSocket, BufferPool, EndReason, ReceiveCompletion, SendCompletion};
use completion_port::Action;
use rstest::rstest;
use test_doubles::Step;

fn reason_of_send<B: Send + 'static>(outcome: &Outcome<SendCompletion<B>>) -> EndReason {
    outcome.take().reason
}

fn reason_of_receive(outcome: &Outcome<ReceiveCompletion<Vec<u8>>>) -> EndReason {
    outcome.take().reason
}

// Tests_SRS_SOCKET_01_060
#[rstest]
#[case::bytes(Step::bytes("x"), EndReason::Completed)]
#[case::end_of_stream(Step::bytes(""), EndReason::PeerFinished)]
#[case::reset(Step::Fails(Errno::CONNRESET), EndReason::PeerReset)]
#[case::kernel_gave_up(Step::Fails(Errno::TIMEDOUT), EndReason::Os(110))]
fn a_receive_says_what_the_kernel_said(#[case] step: Step, #[case] reason: EndReason) {
    let (fixture, pool) = (Fixture::open(), BufferPool::new(8, 1).expect("a pool"));
    fixture.sys.script_recv([step.clone(), step]);
    let (plain, (pooled, report)) = (fixture.receive(vec![0; 8]), Outcome::new());
    fixture.receive_pooled_async(&pool, report).expect("accepted");

    fixture.fire(Action::In);

    assert_eq!(reason_of_receive(&plain), reason);
    assert_eq!(pooled.take().reason, reason);
}

// Tests_SRS_SOCKET_01_060
#[test]
fn a_read_hang_up_is_the_peers_end_and_a_close_is_ours() {
    let fixture = Fixture::open();
    let first = fixture.receive(vec![0; 8]);
    fixture.fire(Action::RdHup);
    assert_eq!(reason_of_receive(&first), EndReason::PeerFinished);

    let second = fixture.receive(vec![0; 8]);
    let send = fixture.blocked_send("blocked", 0);
    fixture.close();

    assert_eq!(reason_of_receive(&second), EndReason::Closed);
    assert_eq!(reason_of_send(&send), EndReason::Closed);
}

// Tests_SRS_SOCKET_01_060
#[rstest]
#[case::named(Some(Errno::HOSTUNREACH), EndReason::Os(113))]
#[case::a_reset(Some(Errno::CONNRESET), EndReason::PeerReset)]
#[case::unnamed(None, EndReason::HungUp)]
fn an_error_event_is_passed_on_with_its_cause(#[case] cause: Option<Errno>, #[case] reason: EndReason) {
    let (fixture, send) = Fixture::blocked();
    let receive = fixture.receive(vec![0; 8]);
    if let Some(errno) = cause {
        fixture.sys.set_error(errno);
    }

    fixture.fire(Action::Error);

    assert_eq!(reason_of_send(&send), reason);
    assert_eq!(reason_of_receive(&receive), reason);
}

// Tests_SRS_SOCKET_01_060
#[test]
fn a_send_behind_one_that_broke_off_says_so() {
    let fixture = Fixture::open();
    let first = fixture.blocked_send("first", 2);
    let second = fixture.send("second");
    fixture.sys.script_send([Step::Fails(Errno::PIPE)]);

    fixture.fire(Action::Out);

    assert_eq!(reason_of_send(&first), EndReason::Os(32));
    assert_eq!(reason_of_send(&second), EndReason::StreamBroken);
}

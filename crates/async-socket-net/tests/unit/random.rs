//! Random lives of connects and listeners, each from a seed: whatever happens, nothing is lost and nothing is left.

use crate::connect::{LONG, Outcome};
use crate::listener::listen;
use crate::script::{Inbox, Script, doubles, inet};
use async_socket_net::sys::Errno;
use async_socket_net::{AcceptError, ConnectError, Connector};
use completion_port::{Action, Direction};
use fastrand::Rng;
use std::net::SocketAddr;
use std::time::Duration;
use test_doubles::MockPort;

const SEEDS: u64 = 2000;

/// Any outcome of a call, `well` of ten times that it goes well.
fn any(rng: &mut Rng, well: u8, errors: &[Errno]) -> Result<(), Errno> {
    if rng.u8(..10) < well { Ok(()) } else { Err(errors[rng.usize(..errors.len())]) }
}

fn script_a_connect(rng: &mut Rng, script: &Script) {
    const AGAIN: [Errno; 3] = [Errno::ALREADY, Errno::CONNREFUSED, Errno::ALREADY];
    const CONNECT: [Errno; 5] =
        [Errno::INPROGRESS, Errno::INPROGRESS, Errno::CONNREFUSED, Errno::NETUNREACH, Errno::INTR];
    for _ in 0..12 {
        script.sockets([any(rng, 9, &[Errno::MFILE, Errno::NOBUFS])]);
        script.connects([any(rng, 1, &CONNECT)]);
        script.connects_again([any(rng, 1, &AGAIN)]);
        let error = [None, None, Some(Errno::CONNREFUSED), Some(Errno::TIMEDOUT)][rng.usize(..4)];
        script.errors([Ok(error)]);
    }
}

/// What may happen while a connect is under way.
fn disturb(rng: &mut Rng, port: &MockPort) {
    match rng.u8(..8) {
        0..3 => port.fire(Action::Out),
        3 => port.fire(Action::Error),
        4 => _ = port.run_scheduled(),
        5 => port.advance(Duration::from_millis(rng.u64(..300))),
        6 => port.advance(Duration::from_secs(rng.u64(..20))),
        _ => port.fail_next_attach(Errno::NOSPC.raw_os_error()),
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_046
#[test]
fn a_connect_ends_once_and_leaves_nothing_whatever_happens() {
    let mut ended = [0_usize; 2];
    for seed in 0..SEEDS {
        let rng = &mut Rng::with_seed(seed);
        let (port, script) = doubles();
        script_a_connect(rng, &script);
        let outcome = Inbox::<Outcome>::new();
        let addresses: Vec<SocketAddr> =
            (1..=rng.u8(1..6)).map(|last| SocketAddr::from(([10, 0, 0, last], 1))).collect();
        let connector = Connector::new().syscalls(script.clone());
        let connecting = connector.connect_on(port.clone(), addresses, LONG, outcome.callback());
        let lasts = rng.usize(..30);
        for _ in 0..lasts {
            if connecting.is_over() {
                break;
            }
            disturb(rng, &port);
        }
        drop(connecting);

        let outcome = outcome.only();
        ended[usize::from(outcome.is_ok())] += 1;
        // The socket closes its descriptor without the script.
        let is_sockets = matches!(outcome, Ok(_) | Err(ConnectError::Open(_)));
        assert_eq!(script.open(), usize::from(is_sockets), "seed {seed}: {outcome:?}");
        assert!(port.next_timer().is_none(), "seed {seed}: a timer is left");
        drop(outcome);
        assert_eq!(port.references(), 1, "seed {seed}");
    }
    assert!(ended.iter().all(|count| *count > 100), "both ends are seen: {ended:?}");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_002, Tests_SRS_ASYNC_SOCKET_NET_01_010
#[test]
fn a_listener_loses_no_connection_whatever_accept_says() {
    const ERRORS: [Errno; 5] = [Errno::CONNABORTED, Errno::MFILE, Errno::NOMEM, Errno::INTR, Errno::IO];
    for seed in 0..SEEDS {
        let rng = &mut Rng::with_seed(seed);
        let (port, script) = doubles();
        let (listener, accepted) = listen(&port, &script);
        let mut came = Vec::new();
        for number in 0..rng.u16(1..40) {
            let peer = inet(&format!("10.0.0.1:{}", number + 1));
            let outcome = any(rng, 6, &ERRORS).map(|()| peer.clone());
            came.extend(outcome.is_ok().then_some(peer));
            script.accepts([outcome]);
        }
        // One event is enough, because pauses end by themselves.
        port.fire(Action::In);
        for _ in 0..40 {
            match rng.u8(..4) {
                0 => _ = listener.resume(),
                1 => port.fire(Action::In),
                2 => _ = port.run_scheduled(),
                _ => port.advance(Duration::from_millis(rng.u64(..2000))),
            }
        }
        port.advance(Duration::from_secs(60));
        port.run_scheduled();

        let mut got = Vec::new();
        while let Some(outcome) = accepted.next() {
            match outcome {
                Ok(accepted) => got.push(accepted.peer().clone()),
                Err(error) => assert!(!matches!(error, AcceptError::Lost { .. }), "seed {seed}"),
            }
        }
        assert_eq!(got, came, "seed {seed}");
        assert_eq!(port.queued(Direction::In), 1, "seed {seed}: it still waits");
        assert_eq!(listener.metrics().accepted, came.len() as u64);
    }
}

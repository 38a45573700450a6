//! The C ABI: any sequence of calls with any arguments, right or wrong, on real descriptors.
//!
//! The model: an accepted operation is called back exactly once, with a legal result. That happens before its socket is
//! destroyed, its descriptor removed or its port given up. A refused operation is never called back. Bytes arrive in
//! order, and none is lost, not even if the descriptor is taken out of its socket and given to another one. A buffer of a
//! pool stays as it is until it is released. What is counted is between what had ended before and what was accepted.

#![no_main]

#[path = "c_abi/beyond.rs"]
mod beyond;
#[path = "c_abi/operation.rs"]
mod operation;
#[path = "c_abi/pool.rs"]
mod pool;
#[path = "c_abi/seeing.rs"]
mod seeing;
#[path = "c_abi/socket.rs"]
mod socket;

use arbitrary::Arbitrary;
use async_socket::*;
use beyond::{Beyond, BeyondCall};
use libfuzzer_sys::fuzz_target;
use operation::{Operation, on_event};
use pool::{PoolCall, Pools};
use seeing::{Told, metrics};
use socket::{Call, Place};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;

/// What is set before the platform starts.
#[derive(Debug, Arbitrary)]
struct Setup {
    threads: u8,
    stack: u8,
    counts: bool,
}

#[derive(Debug, Arbitrary)]
enum Step {
    /// A call on one of the sockets.
    Socket(u8, Call),
    Port(PortCall),
    /// Timers, posted work, listeners and connects.
    Beyond(BeyondCall),
    Pool(PoolCall),
    /// The log of the process.
    Log { level: i32, none: bool },
    /// Another init, which needs its deinit.
    Init,
}

#[derive(Debug, Arbitrary)]
enum PortCall {
    Add {
        events: i32,
        what: Descriptor,
        no_port: bool,
        no_callback: bool,
    },
    Remove {
        what: Descriptor,
        no_port: bool,
    },
    Inc,
    Dec,
    DecNothing,
    Metrics {
        size: u16,
        of_platform: bool,
        no_port: bool,
    },
    /// The peer writes, or goes.
    Write,
    Hang,
    /// The descriptor is closed without being removed, and another one takes its number.
    Replace,
}

#[derive(Debug, Arbitrary)]
enum Descriptor {
    Ours,
    None,
    Negative(i32),
}

fuzz_target!(|input: (Setup, Vec<Step>)| {
    let (setup, steps) = input;
    platform_set_thread_count(u32::from(setup.threads) % 3);
    // A sanitizer needs more stack than the least that the system needs.
    platform_set_thread_stack_size(if setup.stack == 0 { 0 } else { (1 << 20) + (usize::from(setup.stack) << 13) });
    platform_set_metrics(setup.counts.into());
    assert_eq!(platform_init(), 0);
    let mut inits = 1;
    let mut places: [Place; 3] = Default::default();
    let mut port = Port::new(setup.counts);
    let mut pools = Pools::default();
    let mut beyond = Beyond::default();
    for step in steps.into_iter().take(64) {
        match step {
            Step::Socket(place, call) => places[usize::from(place) % 3].call(call, &pools),
            Step::Port(call) => port.call(&call),
            Step::Beyond(call) => beyond.call(&call, port.handle),
            Step::Pool(call) => pools.call(&call),
            Step::Log { level, none } => seeing::set_log(level, none),
            Step::Init => {
                assert_eq!(platform_init(), 0);
                inits += 1;
            }
        }
    }
    places.into_iter().for_each(Place::end);
    beyond.end();
    port.end();
    pools.end();
    (0..inits).for_each(|_| platform_deinit());
    seeing::set_log(0, true);
});

/// A port of our own, and a descriptor on which operations wait at the port.
struct Port {
    handle: COMPLETION_PORT_HANDLE,
    references: usize,
    ours: OwnedFd,
    peer: Option<UnixStream>,
    waiting: Vec<Box<Operation>>,
    counts: bool,
    /// What it told last.
    last: COMPLETION_PORT_METRICS,
}

impl Port {
    fn new(counts: bool) -> Self {
        let handle = completion_port_create();
        assert!(!handle.is_null());
        let (ours, peer) = UnixStream::pair().expect("a pair");
        let (ours, peer, waiting, last) = (ours.into(), Some(peer), Vec::new(), Default::default());
        Self { handle, references: 1, ours, peer, waiting, counts, last }
    }

    fn number(&self, what: &Descriptor) -> SOCKET_HANDLE {
        match what {
            Descriptor::Ours => self.ours.as_raw_fd(),
            Descriptor::None => INVALID_SOCKET,
            Descriptor::Negative(number) => *number | i32::MIN,
        }
    }

    fn call(&mut self, call: &PortCall) {
        let handle = |none: &bool| if *none { null_mut() } else { self.handle };
        match call {
            PortCall::Add { events, what, no_port, no_callback } => {
                let (operation, number) = (Operation::new(&[]), self.number(what));
                let callback: ON_COMPLETION_PORT_EVENT_COMPLETE = if *no_callback { None } else { Some(on_event) };
                // SAFETY: NULL or our port; the operation outlives the callback.
                let refused =
                    unsafe { completion_port_add(handle(no_port), *events, number, callback, operation.context()) };
                let wanted = events & (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP) != 0;
                let right = wanted && number >= 0 && !no_port && !no_callback;
                assert_eq!(refused == 0, right, "accepted if all arguments are right");
                if right { self.waiting.push(operation) } else { operation.never() }
            }
            PortCall::Remove { what, no_port } => {
                // SAFETY: NULL or our port.
                unsafe { completion_port_remove(handle(no_port), self.number(what)) };
                if matches!(what, Descriptor::Ours) && !no_port {
                    for operation in self.waiting.drain(..) {
                        operation.once();
                    }
                }
            }
            PortCall::Inc => {
                // SAFETY: our port.
                unsafe { completion_port_inc_ref(self.handle) };
                self.references += 1;
            }
            // The last reference goes at the end.
            PortCall::Dec if self.references > 1 => {
                // SAFETY: one that we have.
                unsafe { completion_port_dec_ref(self.handle) };
                self.references -= 1;
            }
            PortCall::Dec => {}
            PortCall::DecNothing => {
                // SAFETY: NULL is allowed.
                unsafe { completion_port_dec_ref(null_mut()) };
            }
            PortCall::Metrics { size, of_platform: true, no_port: _ } => {
                let port = platform_get_completion_port();
                assert!(!port.is_null());
                // SAFETY: a reference that we have; there is room.
                let told = metrics(*size, |place, size| unsafe { completion_port_get_metrics(port, place, size) });
                assert_eq!(matches!(told, Told::Refused), !self.counts);
                // SAFETY: the reference from above.
                unsafe { completion_port_dec_ref(port) };
            }
            PortCall::Metrics { size, of_platform: false, no_port } => {
                let handle = handle(no_port);
                // SAFETY: NULL or our port; there is room.
                let told = metrics(*size, |place, size| unsafe { completion_port_get_metrics(handle, place, size) });
                assert_eq!(matches!(told, Told::Refused), *no_port || !self.counts);
                if let Told::All(now) = told {
                    self.check(now);
                }
            }
            PortCall::Write => drop(self.peer.as_mut().map(|mut peer| std::io::Write::write(&mut peer, b"x"))),
            PortCall::Hang => self.peer = None,
            PortCall::Replace => {
                let (ours, peer) = UnixStream::pair().expect("a pair");
                // SAFETY: both descriptors are open. The call closes the second and gives its number to a copy of the
                // first.
                assert!(unsafe { libc::dup2(ours.as_raw_fd(), self.ours.as_raw_fd()) } >= 0);
                self.peer = Some(peer);
            }
        }
    }

    fn check(&mut self, now: COMPLETION_PORT_METRICS) {
        let all = |it: COMPLETION_PORT_METRICS| {
            [it.rounds, it.events, it.most_events, it.wake_ups, it.timers, it.longest_round_nanoseconds]
        };
        assert!(all(self.last).iter().zip(all(now)).all(|(before, now)| *before <= now), "{:?}, {now:?}", self.last);
        assert!(now.most_events <= 512 && now.wake_ups <= now.events, "{now:?}");
        self.last = now;
    }

    fn end(self) {
        for _ in 0..self.references {
            // SAFETY: the references that we have.
            unsafe { completion_port_dec_ref(self.handle) };
        }
        for operation in self.waiting {
            operation.once();
        }
    }
}

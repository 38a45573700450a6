//! Runs the real socket over the mocks and compares it with the model.

use crate::mocked_acts::{Act, Answer, Step};
use crate::mocked_model::{Model, delivery};
use crate::{Outcome, bytes_of, config};
use async_socket_linux::sys::Errno;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, OpenError, ReceiveCompletion, SendCompletion};
use completion_port::{Direction, Readiness};
use nix::libc::ENOTSOCK;
use parking_lot::Mutex;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use test_doubles::{MockPort, ScriptedSockets, SocketCall, any_descriptor};

prop_state_machine! {
    #![proptest_config(config(200))]

    #[test]
    fn over_mocks_the_socket_does_what_the_model_says(sequential 1..60 => Mocked);
}

type Socket = AsyncSocketLinux<MockPort, ScriptedSockets>;

struct Mocked {
    socket: Arc<Socket>,
    port: MockPort,
    sys: ScriptedSockets,
    shared: Arc<Shared>,
    delivered: u32,
    attached: bool,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Vec<Outcome>>,
    next: AtomicU32,
}

impl Mocked {
    fn new(shared: Arc<Shared>) -> Self {
        let (port, sys) = (MockPort::new(), ScriptedSockets::new());
        let socket = Arc::new(AsyncSocketLinux::create_with(port.clone(), sys.clone(), any_descriptor()));
        Self { socket, port, sys, shared, delivered: 0, attached: false }
    }

    fn open(&mut self) -> Answer {
        match self.socket.open_async(|_| {}) {
            Ok(()) => {
                self.attached = true;
                Answer::Accepted
            }
            Err(OpenError::NotClosed { .. }) => Answer::NotClosed,
            Err(OpenError::DescriptorClosed) => Answer::DescriptorClosed,
            Err(OpenError::NotASocket { source, .. }) => Answer::NotASocket(source.raw_os_error().unwrap_or_default()),
            Err(OpenError::NotRegistered { source, .. }) => {
                Answer::NotRegistered(source.raw_os_error().unwrap_or_default())
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn send(&self, lengths: &[usize]) -> Answer {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let mut rest = bytes_of(number, lengths.iter().sum());
        let list: Vec<Vec<u8>> = lengths.iter().map(|length| rest.drain(..*length).collect()).collect();
        let (shared, lent) = (Arc::clone(&self.shared), list.clone());
        let result = self.socket.send_async(list.clone(), move |completion: SendCompletion<Vec<Vec<u8>>>| {
            assert_eq!(completion.buffers, lent, "the buffers come back");
            let os_error = completion.os_error();
            let SendCompletion { result, bytes_sent: bytes, .. } = completion;
            shared.log.lock().push(Outcome { number, result: result as u32, os_error, bytes, data: Vec::new() });
        });
        result.map_or_else(
            |refused| {
                assert_eq!(refused.returned, list, "the buffers come back");
                Answer::Send(refused.error)
            },
            |_| Answer::Accepted,
        )
    }

    fn step(&mut self, act: &Act) -> Answer {
        match act {
            Act::Open { fails } => {
                // An unused failure would hit a later open.
                if let (Some(errno), false) = (fails, self.attached) {
                    self.port.fail_next_attach(*errno);
                }
                return self.open();
            }
            Act::OpenNoSocket => {
                if !self.attached {
                    self.sys.script_short_read_drains(Err(Errno::from_raw_os_error(ENOTSOCK)));
                }
                return self.open();
            }
            Act::Send(lengths) => return self.send(lengths),
            Act::Receive { lengths, again } => {
                return receive(&Arc::downgrade(&self.socket), &self.shared, lengths, *again);
            }
            Act::ScriptSend(Step::Moves(most)) => self.sys.script_send([test_doubles::Step::Takes(*most)]),
            Act::ScriptSend(Step::Fails(errno)) => self.sys.script_send([fails(*errno)]),
            Act::ScriptReceive(Step::Fails(errno)) => self.sys.script_recv([fails(*errno)]),
            Act::ScriptReceive(Step::Moves(length)) => {
                self.sys.script_recv([test_doubles::Step::Delivers(delivery(self.delivered, *length))]);
                self.delivered += 1;
            }
            Act::Readable => self.fire(Readiness::IN),
            Act::Writable => self.fire(Readiness::OUT),
            Act::Both => self.fire(Readiness::IN | Readiness::OUT),
            Act::ReadHangUp => self.fire(Readiness::READ_HANG_UP),
            Act::Error(errno) => {
                if let Some(errno) = errno {
                    self.sys.set_error(Errno::from_raw_os_error(*errno));
                }
                self.fire(Readiness::ERROR);
            }
            Act::Close => self.close(),
            Act::Destroy => {
                let shared = Arc::clone(&self.shared);
                let old = std::mem::replace(self, Self::new(shared));
                drop(old.socket);
                let closes = old.sys.count(|call| matches!(call, SocketCall::Close(_)));
                assert_eq!((closes, old.port.references()), (1, 1), "closed once, and the port let go");
            }
        }
        Answer::Accepted
    }

    fn close(&mut self) {
        self.socket.close();
        if self.attached {
            assert_eq!(self.sys.count(|call| matches!(call, SocketCall::Close(_))), 1);
        }
    }

    fn fire(&self, events: Readiness) {
        if self.socket.state() == async_socket_linux::SocketState::Open {
            self.port.deliver(events);
        }
    }
}

fn fails(errno: i32) -> test_doubles::Step {
    test_doubles::Step::Fails(Errno::from_raw_os_error(errno))
}

fn receive(socket: &Weak<Socket>, shared: &Arc<Shared>, lengths: &[usize], again: bool) -> Answer {
    let Some(strong) = socket.upgrade() else { return Answer::Accepted };
    let number = shared.next.fetch_add(1, Ordering::Relaxed);
    let list: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();
    let (own, socket, lengths) = (Arc::clone(shared), Weak::clone(socket), lengths.to_vec());
    let result = strong.receive_async(list.clone(), move |completion: ReceiveCompletion<Vec<Vec<u8>>>| {
        let os_error = completion.os_error();
        let ReceiveCompletion { result, bytes_received: bytes, buffers, .. } = completion;
        assert!(buffers.iter().map(Vec::len).eq(lengths.iter().copied()), "the buffers come back");
        let mut data = buffers.concat();
        assert!(data[bytes as usize..].iter().all(|byte| *byte == 0), "nothing is written behind what arrived");
        data.truncate(bytes as usize);
        own.log.lock().push(Outcome { number, result: result as u32, os_error, bytes, data });
        if again && result as u32 == crate::OK {
            receive(&socket, &own, &lengths, again);
        }
    });
    result.map_or_else(
        |refused| {
            assert_eq!(refused.returned, list, "the buffers come back");
            Answer::Receive(refused.error)
        },
        |_| Answer::Accepted,
    )
}

impl StateMachineTest for Mocked {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        Self::new(Arc::default())
    }

    fn apply(mut self_: Self, model: &Model, act: Act) -> Self {
        let answer = self_.step(&act);
        self_.port.run_scheduled();
        assert_eq!(answer, model.answer);
        assert_eq!(*self_.shared.log.lock(), model.log, "callbacks, in order");
        self_
    }

    fn check_invariants(this: &Self, model: &Model) {
        assert_eq!(this.socket.state(), model.state());
        assert_eq!(this.sys.sent(), model.wire);
        if this.socket.state() == async_socket_linux::SocketState::Open {
            let queued = [Direction::Out, Direction::In].map(|direction| this.port.queued(direction));
            assert_eq!(queued, [true, false].map(|sends| model.waiting(sends)));
        }
    }
}

//! Runs the real socket over the mocks and compares it with the model.

use crate::mocked_acts::{Act, Answer, Step};
use crate::mocked_model::{Model, delivery};
use crate::{Outcome, bytes_of, config};
use async_socket_linux::EndReason;
use async_socket_linux::sys::Errno;
use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, Cancel, CloseError, OpenError, ReceiveCompletion, ReceiveError, SendCompletion,
    SendError,
};
use completion_port::{Direction, OperationId, Readiness};
use nix::libc::ENOTSOCK;
use parking_lot::Mutex;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
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
    /// The names of the operations that were queued.
    ids: Mutex<HashMap<u32, OperationId>>,
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

    fn send(&self, lengths: &[usize], within: Option<u64>) -> Answer {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let mut rest = bytes_of(number, lengths.iter().sum());
        let list: Vec<Vec<u8>> = lengths.iter().map(|length| rest.drain(..*length).collect()).collect();
        let (shared, lent) = (Arc::clone(&self.shared), list.clone());
        let done = move |completion: SendCompletion<Vec<Vec<u8>>>| {
            assert_eq!(completion.buffers, lent, "the buffers come back");
            shared.note_sent(number, &completion);
        };
        let result = match within {
            Some(within) => self.socket.send_async_within(list.clone(), Duration::from_millis(within), done),
            None => self.socket.send_async(list.clone(), done),
        };
        let refused = |refused: async_socket_linux::Refused<_, SendError>| {
            assert_eq!(refused.returned, list, "the buffers come back");
            refused.error
        };
        self.shared.answer(number, result.map_err(refused))
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
            Act::Send { lengths, within } => return self.send(lengths, *within),
            Act::Receive { lengths, again, within } => {
                return receive(&Arc::downgrade(&self.socket), &self.shared, lengths, *again, *within);
            }
            Act::ScriptSend(Step::Moves(most)) => self.sys.script_send([test_doubles::Step::Takes(*most)]),
            Act::ScriptSend(Step::Fails(errno)) => self.sys.script_send([fails(*errno)]),
            Act::ScriptFragment(bytes) => {
                self.sys.script_send([test_doubles::Step::Takes(*bytes), fails(nix::libc::EAGAIN)]);
            }
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
            Act::CloseAsync => return self.close_async(),
            Act::Cancel(nth) => {
                let number = self.shared.next.load(Ordering::Relaxed).checked_sub(nth + 1);
                let id = number.and_then(|number| self.shared.ids.lock().get(&number).copied());
                // Without an id it was done inside its call or refused.
                return Answer::Cancel(id.map_or(Cancel::NotWaiting, |id| self.socket.cancel(id)));
            }
            Act::ShutDown => return self.shut_down(),
            Act::HighWater(mark) => self.socket.set_high_water_mark(*mark).expect("there is memory"),
            Act::Wait(milliseconds) => self.port.advance(Duration::from_millis(*milliseconds)),
            Act::IntoFd => return self.take_descriptor(),
            Act::Destroy => {
                let shared = Arc::clone(&self.shared);
                // The names of operations are those of one socket.
                shared.ids.lock().clear();
                let old = mem::replace(self, Self::new(shared));
                drop(old.socket);
                let closes = old.sys.count(|call| matches!(call, SocketCall::Close(_)));
                assert_eq!((closes, old.port.references()), (1, 1), "closed once, and the port let go");
            }
        }
        Answer::Accepted
    }

    fn shut_down(&self) -> Answer {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        let result = self.socket.shutdown_async(move |completion| shared.note_sent(number, &completion));
        self.shared.answer(number, result)
    }

    fn close_async(&mut self) -> Answer {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        let done = move || shared.note_sent(number, &SendCompletion::new(EndReason::Completed, 0, ()));
        match self.socket.close_async(done).map_err(|refused| refused.error) {
            Ok(()) => Answer::Accepted,
            Err(CloseError::NotOpen { .. }) => Answer::NotOpen,
            Err(error) => panic!("{error}"),
        }
    }

    /// Takes the descriptor back, and goes on with another socket.
    fn take_descriptor(&mut self) -> Answer {
        let socket = mem::replace(&mut self.socket, Self::new(Arc::clone(&self.shared)).socket);
        let socket = Arc::into_inner(socket).expect("no callback has a reference");
        match socket.into_fd() {
            Ok(_descriptor) => {
                assert_eq!(self.sys.count(|call| matches!(call, SocketCall::Close(_))), 0, "it is not closed");
                assert_eq!(self.port.references(), 1, "the port is let go");
                self.shared.ids.lock().clear();
                *self = Self::new(Arc::clone(&self.shared));
                Answer::Accepted
            }
            Err(refused) => {
                self.socket = Arc::new(refused.returned);
                Answer::IntoFd(refused.error)
            }
        }
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

impl Shared {
    fn note_sent<B>(&self, number: u32, completion: &SendCompletion<B>) {
        let reason = completion.reason;
        assert_eq!(completion.result, reason.send_result());
        self.log.lock().push(Outcome { number, reason, bytes: completion.bytes_sent, data: Vec::new() });
    }

    fn answer(&self, number: u32, result: Result<Option<OperationId>, SendError>) -> Answer {
        match result {
            Ok(id) => {
                id.into_iter().for_each(|id| _ = self.ids.lock().insert(number, id));
                Answer::Accepted
            }
            Err(error) => Answer::Send(error),
        }
    }
}

fn receive(socket: &Weak<Socket>, shared: &Arc<Shared>, lengths: &[usize], again: bool, within: Option<u64>) -> Answer {
    let Some(strong) = socket.upgrade() else { return Answer::Accepted };
    let number = shared.next.fetch_add(1, Ordering::Relaxed);
    let list: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();
    let (own, socket, lengths) = (Arc::clone(shared), Weak::clone(socket), lengths.to_vec());
    let done = move |completion: ReceiveCompletion<Vec<Vec<u8>>>| {
        let ReceiveCompletion { result, reason, bytes_received: bytes, buffers, .. } = completion;
        assert_eq!(result, reason.receive_result());
        assert!(buffers.iter().map(Vec::len).eq(lengths.iter().copied()), "the buffers come back");
        let mut data = buffers.concat();
        assert!(data[bytes as usize..].iter().all(|byte| *byte == 0), "nothing is written behind what arrived");
        data.truncate(bytes as usize);
        own.log.lock().push(Outcome { number, reason, bytes, data });
        if again && result as u32 == crate::OK {
            receive(&socket, &own, &lengths, again, within);
        }
    };
    let result = match within {
        Some(within) => strong.receive_async_within(list.clone(), Duration::from_millis(within), done),
        None => strong.receive_async(list.clone(), done),
    };
    result.map_or_else(
        |refused: async_socket_linux::Refused<_, ReceiveError>| {
            assert_eq!(refused.returned, list, "the buffers come back");
            Answer::Receive(refused.error)
        },
        |id| {
            shared.ids.lock().insert(number, id);
            Answer::Accepted
        },
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
            assert_eq!(this.socket.queued_bytes(), model.queued_bytes());
        }
    }
}

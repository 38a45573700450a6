//! Everything together: a registration on a real port on a model of the kernel.

use crate::kernel::ModelKernel;
use crate::world::{Mover, State, op_then, unregistered_on};
use crate::{ANY, check};
use completion_port::sys::EventFlags;
use completion_port::{CompletionPort, Direction, Registration};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;

/// Told by a callback.
#[derive(Clone, Default)]
struct Told(Arc<(Mutex<bool>, Condvar)>);

impl Told {
    fn tell(&self) {
        *self.0.0.lock().expect("no panic") = true;
        self.0.1.notify_all();
    }

    /// Without a notification it sleeps for ever, which loom finds.
    fn wait(&self) {
        let mut told = self.0.0.lock().expect("no panic");
        while !*told {
            told = self.0.1.wait(told).expect("no panic");
        }
    }
}

/// A registration with nothing to read, and a function that gives it a byte.
fn registered() -> (Registration<Mover, CompletionPort<ModelKernel>>, impl FnOnce()) {
    let (kernel, state) = (ModelKernel::default(), Arc::<State>::default());
    let port = CompletionPort::create_with(kernel.clone()).expect("the model's calls succeed");
    let registration = unregistered_on(port, &state);
    registration.register(|| ()).expect("the model's calls succeed");
    let arrive = move || {
        state.make_room(1);
        kernel.arrive(EventFlags::IN);
    };
    (registration, arrive)
}

#[test]
fn a_receive_meets_its_byte() {
    check("a_receive_meets_its_byte", 3, || {
        let (registration, arrive) = registered();
        let told = Told::default();
        let peer = thread::spawn(arrive);
        let tells = told.clone();
        registration.add(Direction::In, op_then('a', 1, move || tells.tell())).expect("it is registered");
        told.wait();
        peer.join().expect("no panic");
        drop(registration);
    });
}

#[test]
fn a_receive_meets_the_end_of_everything() {
    check("a_receive_meets_the_end_of_everything", 3, || {
        let (registration, arrive) = registered();
        let told = Told::default();
        let tells = told.clone();
        registration.add(Direction::In, op_then('a', 1, move || tells.tell())).expect("it is registered");
        let peer = thread::spawn(arrive);
        // Removes, and takes the last reference to the port, which ends the thread.
        drop(registration);
        told.wait();
        peer.join().expect("no panic");
    });
}

#[test]
fn a_callback_drops_everything() {
    check("a_callback_drops_everything", ANY, || {
        let (registration, arrive) = registered();
        let registration = Arc::new(registration);
        let last = Arc::clone(&registration);
        registration.add(Direction::In, op_then('a', 1, move || drop(last))).expect("it is registered");
        let peer = thread::spawn(arrive);
        drop(registration);
        // loom checks that the port's thread also ends.
        peer.join().expect("no panic");
    });
}

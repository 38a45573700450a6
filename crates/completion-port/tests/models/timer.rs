//! Posted work and timers on a modelled kernel: a lost wake-up leaves a thread asleep for ever, which loom finds.

use crate::check;
use crate::kernel::ModelKernel;
use completion_port::{CompletionPort, Port, PortExt};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

type ModelledPort = CompletionPort<ModelKernel>;

fn port() -> ModelledPort {
    CompletionPort::create_with(ModelKernel::default()).expect("the model's calls succeed")
}

/// Counts, and lets a thread wait for a number.
#[derive(Default)]
struct Count {
    number: Mutex<usize>,
    counted: Condvar,
}

impl Count {
    fn up(&self) {
        *self.number.lock().expect("no panic") += 1;
        self.counted.notify_all();
    }

    fn wait_for(&self, number: usize) {
        let mut reached = self.number.lock().expect("no panic");
        while *reached < number {
            reached = self.counted.wait(reached).expect("no panic");
        }
    }

    fn get(&self) -> usize {
        *self.number.lock().expect("no panic")
    }
}

fn ups(count: &Arc<Count>) -> impl FnOnce() + Send + 'static {
    let count = Arc::clone(count);
    move || count.up()
}

#[test]
fn posted_work_meets_the_port_going_to_sleep() {
    check("posted_work_meets_the_port_going_to_sleep", 2, || {
        let (port, count) = (port(), Arc::<Count>::default());
        let other = thread::spawn({
            let (port, work) = (port.clone(), ups(&count));
            move || port.post(work).expect("there is memory")
        });
        port.post(ups(&count)).expect("there is memory");
        count.wait_for(2);
        other.join().expect("no panic");
        drop(port);
        assert_eq!(count.get(), 2);
    });
}

#[test]
fn a_timer_meets_the_port_going_to_sleep() {
    check("a_timer_meets_the_port_going_to_sleep", 3, || {
        let (port, count) = (port(), Arc::<Count>::default());
        let timer = port.after(5 * MS, ups(&count)).expect("there is memory");
        count.wait_for(1);
        drop(timer);
        drop(port);
    });
}

#[test]
fn an_earlier_timer_of_another_thread_meets_a_later_one() {
    check("an_earlier_timer_of_another_thread_meets_a_later_one", 1, || {
        let (port, count) = (port(), Arc::<Count>::default());
        let begin = port.now();
        let other = thread::spawn({
            let (port, fire) = (port.clone(), ups(&count));
            move || port.at(begin + 3 * MS, fire).expect("there is memory")
        });
        let later = port.at(begin + 40 * MS, ups(&count)).expect("there is memory");
        count.wait_for(2);
        drop((later, other.join().expect("no panic")));
        drop(port);
        assert_eq!(count.get(), 2);
    });
}

#[test]
fn a_cancel_meets_the_timer() {
    check("a_cancel_meets_the_timer", 3, || {
        let (port, count) = (port(), Arc::<Count>::default());
        let timer = port.after(MS, ups(&count)).expect("there is memory");
        let cancelled = timer.cancel();
        drop(port);
        assert_eq!(count.get(), usize::from(!cancelled));
    });
}

#[test]
fn a_reset_meets_the_timer() {
    check("a_reset_meets_the_timer", 2, || {
        let (port, count) = (port(), Arc::<Count>::default());
        let begin = port.now();
        let timer = port.at(begin + MS, ups(&count)).expect("there is memory");
        let in_time = timer.reset(begin + 7 * MS);
        count.wait_for(1);
        assert!(!in_time || port.now() >= begin + 7 * MS, "early");
        drop(timer);
        drop(port);
        assert_eq!(count.get(), 1);
    });
}

//! An abort against the beginning, the polls and the end of its task.

use crate::{Wakes, check};
use async_socket_futures::models::{Abort, Aborts};
use loom::thread;
use std::sync::Arc;

/// A task that begins, is polled, and is polled again if it is woken. Returns whether it saw the abort.
fn runs(abort: &Abort, aborts: &Aborts, aborted: impl FnOnce()) -> bool {
    let (wakes, waker) = Wakes::new();
    abort.begin(waker);
    let at_once = abort.is_wanted(aborts);
    // The port's thread waits for a wake-up.
    aborted();
    at_once || (wakes.any() && abort.is_wanted(aborts))
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_021
#[test]
fn an_abort_meets_the_beginning_of_the_task() {
    check("an_abort_meets_the_beginning_of_the_task", 20, || {
        let (abort, aborts) = (Arc::<Abort>::default(), Arc::<Aborts>::default());
        let (of, all) = (Arc::clone(&abort), Arc::clone(&aborts));
        let aborting = thread::spawn(move || of.abort(&all));
        assert!(runs(&abort, &aborts, || aborting.join().expect("no panic")), "the abort is lost");
        abort.end(&aborts);
        assert_eq!(aborts.pending(), 0);
    });
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_021
#[test]
fn two_aborts_meet_the_end_of_the_task() {
    check("two_aborts_meet_the_end_of_the_task", 20, || {
        let (abort, aborts) = (Arc::<Abort>::default(), Arc::<Aborts>::default());
        let threads = [(); 2].map(|()| {
            let (of, all) = (Arc::clone(&abort), Arc::clone(&aborts));
            thread::spawn(move || of.abort(&all))
        });
        abort.end(&aborts);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(aborts.pending(), 0, "a task that has ended makes no other look at its state");
    });
}

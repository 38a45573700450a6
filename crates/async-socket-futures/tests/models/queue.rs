//! A wake-up against the end of a round.

use crate::check;
use async_socket_futures::models::{Pushed, RunQueue};
use loom::thread;
use std::sync::Arc;

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_010
#[test]
fn a_wake_up_meets_the_end_of_a_round() {
    check("a_wake_up_meets_the_end_of_a_round", 20, || {
        let queue = Arc::<RunQueue<usize>>::default();
        assert!(matches!(queue.push(0), Pushed::NeedsRound));
        let waking = [1, 2].map(|task| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || matches!(queue.push(task), Pushed::NeedsRound))
        });
        let mut ran = Vec::new();
        ran.extend(std::iter::from_fn(|| queue.pop()));
        let rounds = waking.map(|thread| thread.join().expect("no panic"));
        if rounds.contains(&true) {
            ran.extend(std::iter::from_fn(|| queue.pop()));
        }
        ran.sort_unstable();
        assert_eq!(ran, [0, 1, 2], "a task stays behind");
    });
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_006
#[test]
fn a_wake_up_meets_the_end_of_the_engine() {
    check("a_wake_up_meets_the_end_of_the_engine", 20, || {
        let queue = Arc::<RunQueue<usize>>::default();
        let waking = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || matches!(queue.push(1), Pushed::Refused(_)))
        };
        let dropped = queue.stop().len();
        let refused = usize::from(waking.join().expect("no panic"));
        assert_eq!(dropped + refused, 1, "the task is dropped once");
        assert!(queue.stop().is_empty());
    });
}

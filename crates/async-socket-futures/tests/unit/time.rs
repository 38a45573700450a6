//! `sleep`, `timeout` and `interval`.

use crate::{Wakes, poll_once};
use async_socket_futures::{Elapsed, block_on, interval, sleep, sleep_until, timeout};
use std::future::{pending, ready};
use std::task::Poll;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_050
#[test]
fn a_sleep_is_never_over_early() {
    block_on(async {
        for ms in [0, 1, 3, 10] {
            let begin = Instant::now();
            sleep(ms * MS).await;
            assert!(begin.elapsed() >= ms * MS);
        }
        sleep_until(Instant::now() - MS).await;
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_050
#[test]
fn a_sleep_wakes_only_when_it_is_over_and_not_at_all_once_dropped() {
    let ((wakes, waker), (wakes_of_dropped, waker_of_dropped)) = (Wakes::new(), Wakes::new());
    block_on(async {
        let (mut first, mut dropped) = (sleep(20 * MS), sleep(5 * MS));
        assert_eq!(poll_once(&mut first, &waker), Poll::Pending);
        assert_eq!(poll_once(&mut dropped, &waker_of_dropped), Poll::Pending);
        drop(dropped);
        sleep(10 * MS).await;
        let early = wakes.taken();
        assert!(early == 0 || Instant::now() >= first.deadline());
        sleep_until(first.deadline() + 5 * MS).await;
        assert_eq!(early + wakes.taken(), 1);
        assert_eq!(poll_once(&mut first, &waker), Poll::Ready(()));
    })
    .unwrap();
    assert_eq!(wakes_of_dropped.taken(), 0);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_051
#[test]
fn a_sleep_can_be_moved_before_and_after_it_was_over() {
    block_on(async {
        let (_, waker) = Wakes::new();
        let mut sleep = sleep(MS);
        assert_eq!(poll_once(&mut sleep, &waker), Poll::Pending);
        let at = Instant::now() + 10 * MS;
        sleep.reset(at);
        (&mut sleep).await;
        assert!(Instant::now() >= at);
        let again = Instant::now() + 5 * MS;
        sleep.reset(again);
        assert_eq!(sleep.deadline(), again);
        sleep.await;
        assert!(Instant::now() >= again);
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_052
#[test]
fn a_timeout_gives_the_value_or_says_that_the_time_is_over() {
    block_on(async {
        assert_eq!(timeout(Duration::ZERO, ready(3)).await, Ok(3), "what is ready wins");
        let begin = Instant::now();
        assert_eq!(timeout(5 * MS, pending::<()>()).await, Err(Elapsed));
        assert!(begin.elapsed() >= 5 * MS);
        let slow = async {
            sleep(2 * MS).await;
            4
        };
        assert_eq!(timeout(Duration::from_secs(20), slow).await, Ok(4));
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_053
#[test]
fn an_interval_keeps_its_phase_and_leaves_out_what_was_missed() {
    block_on(async {
        let mut ticks = interval(10 * MS);
        let first = ticks.tick().await;
        let second = ticks.tick().await;
        // On a busy machine ticks can be missed here too.
        assert!(second > first && (second - first).as_millis() % 10 == 0, "{:?}", second - first);
        std::thread::sleep(35 * MS);
        let late = ticks.tick().await;
        assert!(late > second && (late - second).as_millis() % 10 == 0, "{:?}", late - second);
        let next = ticks.tick().await;
        assert!(next - late >= 20 * MS, "{:?}", next - late);
        assert_eq!((next - late).as_millis() % 10, 0, "in phase");
    })
    .unwrap();
}

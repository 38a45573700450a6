//! The simulation accepts a correct library and notices every injected defect.

use std::process::{Command, Output};

fn faults(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_faults")).args(arguments).output().expect("the simulation starts")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn random_programs_keep_every_promise() {
    let output = faults(&["--in-this-process", "--seconds", "5", "--first-seed", "1", "--at-least", "1000"]);
    assert!(output.status.success(), "{}", said(&output));
}

#[track_caller]
fn notices(defect: &str, complaints: &[&str]) {
    let output = faults(&["--in-this-process", "--seconds", "60", "--first-seed", "1", "--inject", defect]);
    let said = said(&output);
    assert!(!output.status.success(), "{defect} was not noticed: {said}");
    assert!(complaints.iter().any(|complaint| said.contains(complaint)), "{said}");
}

#[test]
fn a_byte_that_is_lost_is_noticed() {
    // If nothing comes behind the lost byte, its message is waited for without end.
    let complaints = ["no message begins", "wrong bytes", "bytes arrived of", "ends within a message", "hangs"];
    notices("loses-bytes", &complaints);
}

#[test]
fn a_byte_that_is_doubled_is_noticed() {
    notices("doubles-bytes", &["no message begins", "wrong bytes", "bytes arrived of"]);
}

#[test]
fn an_edge_that_is_lost_is_noticed() {
    notices("swallows-edges", &["hangs"]);
}

#[test]
fn a_descriptor_that_is_not_closed_is_noticed() {
    notices("leaks-descriptors", &["descriptors are open"]);
}

#[test]
fn a_completion_that_is_dropped_is_noticed() {
    notices("drops-completions", &["dropped without being called", "callback dropped"]);
}

#[test]
fn memory_that_is_not_freed_is_noticed() {
    notices("leaks-memory", &["were not freed"]);
}

#[test]
fn a_callback_that_outlives_close_is_noticed() {
    notices("calls-back-late", &["returned while"]);
}

#[test]
fn a_clock_that_runs_ahead_is_noticed() {
    notices("runs-ahead", &["fired early", "for no reason that there was", "a connect ended as TimedOut"]);
}

#[test]
fn a_callback_that_never_returns_is_noticed_and_the_seed_is_said() {
    let output = faults(&["--in-this-process", "--first-seed", "1", "--inject", "never-returns", "--bound", "10"]);
    let said = said(&output);
    assert!(!output.status.success() && said.contains("nothing happened for 10s: --seed"), "{said}");
}

#[test]
fn a_failure_is_made_smaller_and_said_so_that_it_can_be_played_again() {
    let output = faults(&["--seconds", "60", "--first-seed", "1", "--inject", "drops-completions"]);
    let said = said(&output);
    assert!(!output.status.success(), "{said}");
    let (_, smallest) = said.rsplit_once("\n  faults ").expect("the smallest program");
    let arguments: Vec<&str> = smallest.lines().next().unwrap_or_default().split(' ').collect();
    assert!(arguments.contains(&"--steps"), "{said}");
    let again = faults(&[&arguments, &["--times", "300", "--inject", "drops-completions"][..]].concat());
    assert!(!again.status.success(), "{said}");
}

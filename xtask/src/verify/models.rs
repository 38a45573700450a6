//! The models of the concurrency core in `crates/completion-port/tests/models`, and of tasks and streams in
//! `crates/async-socket-futures/tests/models`, and whether they find injected bugs.

use super::run::{Printed, Run, tests_passed};
use anyhow::ensure;
use xshell::Cmd;

/// A crate, and the values of `INJECTED_BUG` (see its `src/sync.rs`), each with a model that finds the bug.
type Models = (&'static str, &'static [(&'static str, &'static str)]);

const MODELS: [Models; 2] = [("completion-port", &PORT), ("async-socket-futures", &FUTURES)];

const FUTURES: [(&str, &str); 5] = [
    ("clears a later event", "ready::a_poll_that_gets_eagain_meets_an_event"),
    ("forgets the waker in hand", "ready::a_task_that_runs_in_its_wake_up_meets_another_that_polls"),
    ("ends the round late", "queue::a_wake_up_meets_the_end_of_a_round"),
    ("the waker of a task", "abort::an_abort_meets_the_beginning_of_the_task"),
    ("the wish to abort", "abort::an_abort_meets_the_beginning_of_the_task"),
];

const PORT: [(&str, &str); 30] = [
    ("unlocks", "registration::an_add_meets_an_event"),
    ("merges an event", "registration::an_add_meets_an_event"),
    ("adds to the backlog", "registration::an_add_meets_the_end_of_a_claim"),
    ("unlocks after servicing", "registration::bytes_of_two_sends_do_not_interleave"),
    ("services only once", "registration::an_add_meets_who_attends_to_another"),
    ("asks to resume", "registration::a_suspended_operation_meets_its_resumption"),
    ("no count of events", "registration::a_claim_that_gets_eagain_meets_an_event"),
    ("overlooks the slot", "registration::bytes_of_two_sends_do_not_interleave"),
    ("overlooks the backlog", "registration::a_claim_does_not_overtake_what_was_added_before"),
    ("overlooks the end", "registration::an_add_meets_a_removal"),
    ("closes", "registration::a_claim_meets_a_removal"),
    ("notifies no remover", "registration::a_claim_meets_a_removal"),
    ("callbacks are not waited for", "registration::registering_meets_a_removal"),
    ("own callback is waited for", "registration::removals_from_inside_two_callbacks_meet"),
    ("overlooks a promotion", "queued::an_error_is_told_to_all_who_waited"),
    ("what is left stays", "removal::a_removal_inside_an_attempt_is_finished_by_whoever_ends_last"),
    ("nobody is parked", "removal::of_two_callbacks_one_removes_and_one_waits"),
    ("no generation", "port::a_late_event_finds_nobody"),
    ("sleeps though notified", "port::who_is_scheduled_from_inside_a_turn_has_one"),
    ("notified is cleared late", "port::who_is_scheduled_has_a_turn"),
    ("the last reference wakes nobody", "port::the_last_of_two_references_ends_the_thread"),
    ("cancels whatever is there", "cancel::a_cancel_meets_the_completion_while_another_operation_waits"),
    ("looks before the handler notes it", "time_out::a_time_out_meets_an_add_that_relies_on_it"),
    ("gives up on a busy lane", "time_out::a_time_out_meets_an_add_behind_the_operation"),
    ("looks at the slot once", "time_out::a_time_out_meets_the_promotion_of_the_operation"),
    ("notes after the unlock", "time_out::a_time_out_in_the_middle_of_a_payload_meets_a_send"),
    ("nobody can detach", "cancel::a_removal_that_does_not_wait_meets_a_turn_and_a_send"),
    ("watches twice", "lazily::a_first_add_meets_another"),
    ("watches what is removed", "lazily::a_first_add_meets_a_removal"),
    ("a timer wakes nobody", "timer::a_timer_meets_the_port_going_to_sleep"),
];

/// The fewest preemptions that the long form allows every model.
const LONG: &str = "3";

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let deeper = run.long.then_some(("LOOM_MAX_PREEMPTIONS", LONG));
    let (mut models_run, mut interleavings, mut bugs) = (0, 0, 0);
    for (package, defects) in MODELS {
        let text = run.succeeds(models(run, package, "").envs(deeper))?;
        let (count, ways) = (tests_passed(&text), text.lines().filter_map(interleavings_of).sum::<u64>());
        ensure!(count > 0 && ways > 0, "no model of {package} ran");
        (models_run, interleavings, bugs) = (models_run + count, interleavings + ways, bugs + defects.len());
        for (defect, model) in defects {
            let Printed { ok, text } = run.printed(models(run, package, model).env("INJECTED_BUG", defect))?;
            ensure!(text.contains("running 1 test\n"), "no model {model} ran; see {}", run.log().display());
            ensure!(!ok && text.contains("model failed"), "{model} does not notice the injected bug: {defect}");
        }
    }
    Ok(format!("{models_run} models, {interleavings} interleavings, {bugs} of {bugs} injected bugs found"))
}

/// Runs one model of a package, or all.
fn models<'a>(run: &'a Run, package: &str, name: &str) -> Cmd<'a> {
    let exact = if name.is_empty() { "" } else { "--exact" };
    let line = format!(
        "cargo test --quiet --release --package {package} --test models -- --nocapture --test-threads=2 {exact} {name}"
    );
    run.command(&line).env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", run.target("models"))
}

/// The number of interleavings that a model reports.
fn interleavings_of(line: &str) -> Option<u64> {
    let (_, about) = line.split_once("model ")?;
    let (_, counted) = about.split_once(": ")?;
    counted.split_once(" interleavings")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;
    use regex_lite::Regex;
    use std::collections::BTreeSet;
    use walkdir::WalkDir;

    #[test]
    fn every_bug_that_can_be_injected_is() {
        let call = Regex::new(r#"(?:injected_bug|full_fence)\("([^"]+)"\)"#).unwrap();
        for (package, defects) in MODELS {
            let source = workspace::root().unwrap().join("crates").join(package).join("src");
            let mut injected = BTreeSet::new();
            for file in WalkDir::new(source).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
                let text = std::fs::read_to_string(file.path()).unwrap();
                injected.extend(call.captures_iter(&text).map(|found| found[1].to_owned()));
            }
            assert_eq!(injected, defects.iter().map(|(defect, _)| (*defect).to_owned()).collect(), "{package}");
        }
    }

    #[test]
    fn interleavings_are_counted() {
        let line = "test x::y ... model y: 1234 interleavings, at most 20 preemptions, 1.2s";
        assert_eq!(interleavings_of(line), Some(1234));
        assert_eq!(interleavings_of("test x::y ... ok"), None);
    }
}

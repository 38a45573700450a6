//! The status of a requirement: one pure function of its evidence.

use super::model::{AspectStatus, Row};
use super::mutants::Verdict;
use super::results::Outcome;

/// From worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// One of its tests failed.
    Failed,
    /// Code or tests are missing, and no waiver excuses that.
    Missing,
    /// Results were given, but not for one of its tests.
    NotRun,
    /// It has no code and no tests, and waivers excuse that.
    Waived,
    /// Code and tests name it; no results were given.
    Traced,
    /// All its tests ran and passed.
    Proven,
    /// Its tests notice every change to its code that cargo-mutants proposes.
    ProvenByMutation,
}

impl Status {
    pub(super) const ALL: [Self; 7] =
        [Self::Failed, Self::Missing, Self::NotRun, Self::Waived, Self::Traced, Self::Proven, Self::ProvenByMutation];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::NotRun => "not run",
            Self::Waived => "waived",
            Self::Traced => "traced",
            Self::Proven => "proven",
            Self::ProvenByMutation => "proven by mutation",
        }
    }
}

/// The status of a requirement.
pub(super) fn status(row: &Row) -> Status {
    let aspects: Vec<AspectStatus> = row.aspects().iter().map(|aspect| row.aspect(aspect)).collect();
    let outcomes: Vec<Option<Outcome>> = row.tests().map(|test| test.ran.map(|ran| ran.outcome)).collect();
    let all_are = |outcome| !outcomes.is_empty() && outcomes.iter().all(|it| *it == Some(outcome));
    let viable = || row.mutants.iter().filter(|mutant| mutant.verdict != Verdict::Unviable);
    let all_caught = viable().count() > 0 && viable().all(|mutant| mutant.verdict == Verdict::Caught);
    if outcomes.contains(&Some(Outcome::Failed)) {
        Status::Failed
    } else if aspects.contains(&AspectStatus::Missing) {
        Status::Missing
    } else if outcomes.contains(&Some(Outcome::NotRun)) {
        Status::NotRun
    } else if aspects.contains(&AspectStatus::Waived) && !aspects.contains(&AspectStatus::Present) {
        Status::Waived
    } else if all_caught {
        Status::ProvenByMutation
    } else if all_are(Outcome::Passed) {
        Status::Proven
    } else {
        Status::Traced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{row, with_mutants};
    use Outcome::{Failed, NotRun, Passed};
    use Verdict::{Caught, Missed, TimedOut, Unviable};

    #[test]
    fn a_requirement_is_as_good_as_the_worst_of_its_evidence() {
        let present = [AspectStatus::Present; 3];
        let lacking = [AspectStatus::Present, AspectStatus::Missing, AspectStatus::Present];
        let excused = [AspectStatus::Present, AspectStatus::Waived, AspectStatus::Present];
        for (aspects, outcome, expected) in [
            (present, None, Status::Traced),
            (present, Some(Passed), Status::Proven),
            (present, Some(NotRun), Status::NotRun),
            (present, Some(Failed), Status::Failed),
            (lacking, Some(Passed), Status::Missing),
            (lacking, Some(Failed), Status::Failed),
            (excused, Some(Passed), Status::Proven),
            ([AspectStatus::Waived; 3], None, Status::Waived),
        ] {
            assert_eq!(status(&row(aspects, outcome)), expected, "{aspects:?} {outcome:?}");
        }
    }

    #[test]
    fn without_a_test_nothing_is_proven() {
        let aspects = [AspectStatus::Present, AspectStatus::Waived, AspectStatus::Waived];
        assert_eq!(status(&row(aspects, Some(Passed))), Status::Traced);
    }

    #[test]
    fn only_a_full_catch_is_proof_by_mutation() {
        for (verdicts, expected) in [
            (vec![Caught, Caught], Status::ProvenByMutation),
            (vec![Caught, Unviable], Status::ProvenByMutation),
            (vec![Caught, Missed], Status::Proven),
            (vec![Caught, TimedOut], Status::Proven),
            (vec![Unviable], Status::Proven),
            (vec![], Status::Proven),
        ] {
            let row = with_mutants(row([AspectStatus::Present; 3], Some(Passed)), &verdicts);
            assert_eq!(status(&row), expected, "{verdicts:?}");
        }
        let failed = with_mutants(row([AspectStatus::Present; 3], Some(Failed)), &[Caught]);
        assert_eq!(status(&failed), Status::Failed);
    }
}

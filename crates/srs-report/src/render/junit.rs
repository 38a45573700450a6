//! The report as JUnit: a suite per document, a test case per requirement.

use crate::model::{Model, Row};
use crate::status::{Status, status};
use anyhow::Context as _;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// A requirement with a finding or a failed test fails, and a waived one is skipped.
pub(super) fn report(model: &Model) -> anyhow::Result<String> {
    let mut report = Report::new("srs-report");
    for document in &model.documents {
        let mut suite = TestSuite::new(&*document.path);
        for row in &document.rows {
            suite.add_test_case(case(model, row, &document.path));
        }
        report.add_test_suite(suite);
    }
    report.add_test_suite(findings(model));
    report.to_string().context("cannot write JUnit")
}

fn case(model: &Model, row: &Row, path: &str) -> TestCase {
    let status = status(row);
    let requirement = &row.requirement;
    let mut verdict = match status {
        Status::Failed | Status::Missing | Status::NotRun => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Status::Waived => TestCaseStatus::skipped(),
        Status::Traced | Status::Proven | Status::ProvenByMutation => TestCaseStatus::success(),
    };
    if !matches!(verdict, TestCaseStatus::Success { .. }) {
        let about = model.findings.iter().filter(|finding| finding.message.contains(&requirement.id));
        let lines: Vec<String> = about.map(ToString::to_string).collect();
        verdict.set_message(status.name()).set_description(lines.join("\n"));
    }
    let mut case = TestCase::new(requirement.id.as_str(), verdict);
    let seconds: f64 = row.tests().filter_map(|test| test.ran).map(|ran| ran.seconds).sum();
    case.set_classname(path).set_time(Duration::from_secs_f64(seconds));
    case
}

/// A suite of all findings, so that findings about no requirement fail too.
fn findings(model: &Model) -> TestSuite {
    let mut suite = TestSuite::new("findings");
    for finding in &model.findings {
        let mut verdict = TestCaseStatus::non_success(NonSuccessKind::Failure);
        verdict
            .set_type(finding.kind.name())
            .set_message(finding.message.as_str())
            .set_description(finding.kind.hint());
        suite.add_test_case(TestCase::new(format!("{}: {}", finding.location, finding.kind.name()), verdict));
    }
    suite
}

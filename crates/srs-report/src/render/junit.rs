//! The report as JUnit: a suite per document, a test case per requirement.

use crate::model::{Model, Row};
use crate::status::{Status, status};
use anyhow::Context as _;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

/// A requirement with a finding or a failed test fails, and a waived one is skipped.
pub(super) fn report(model: &Model) -> anyhow::Result<String> {
    let suites = model.documents.iter().map(|document| Suite {
        name: document.path.to_string(),
        cases: document.rows.iter().map(|row| case(model, row, &document.path)).collect(),
    });
    let suites: Vec<Suite> = suites.chain([findings(model)]).collect();
    written(&suites).context("cannot write JUnit")
}

struct Suite {
    name: String,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    class: Option<String>,
    seconds: f64,
    outcome: Outcome,
}

enum Outcome {
    Success,
    /// With the status.
    Skipped(&'static str),
    /// The type, the message and the description.
    Failure(Option<&'static str>, String, String),
}

fn case(model: &Model, row: &Row, path: &str) -> Case {
    let status = status(row);
    let id = &row.requirement.id;
    let outcome = match status {
        Status::Failed | Status::Missing | Status::NotRun => {
            let about = model.findings.iter().filter(|finding| finding.message.contains(id));
            let lines: Vec<String> = about.map(ToString::to_string).collect();
            Outcome::Failure(None, status.name().to_owned(), lines.join("\n"))
        }
        Status::Waived => Outcome::Skipped(status.name()),
        Status::Traced | Status::Proven | Status::ProvenByMutation => Outcome::Success,
    };
    let seconds = row.tests().filter_map(|test| test.ran).map(|ran| ran.seconds).sum();
    Case { name: id.clone(), class: Some(path.to_owned()), seconds, outcome }
}

/// A suite of all findings, so that findings about no requirement fail too.
fn findings(model: &Model) -> Suite {
    let case = |finding: &crate::finding::Finding| {
        let (kind, hint) = (finding.kind.name(), finding.kind.hint().to_owned());
        Case {
            name: format!("{}: {kind}", finding.location),
            class: None,
            seconds: 0.0,
            outcome: Outcome::Failure(Some(kind), finding.message.clone(), hint),
        }
    };
    Suite { name: "findings".to_owned(), cases: model.findings.iter().map(case).collect() }
}

fn written(suites: &[Suite]) -> anyhow::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 4);
    let all: Vec<&Case> = suites.iter().flat_map(|suite| &suite.cases).collect();
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.write_event(Event::Start(counted("testsuites", "srs-report", &all)))?;
    for suite in suites {
        let cases: Vec<&Case> = suite.cases.iter().collect();
        writer.write_event(Event::Start(counted("testsuite", &suite.name, &cases)))?;
        for case in cases {
            write_case(&mut writer, case)?;
        }
        writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuites")))?;
    Ok(String::from_utf8(writer.into_inner())? + "\n")
}

/// An element with the name and the numbers of its test cases.
fn counted<'e>(element: &'e str, name: &str, cases: &[&Case]) -> BytesStart<'e> {
    let count = |is: fn(&Outcome) -> bool| cases.iter().filter(|case| is(&case.outcome)).count().to_string();
    let failures = count(|outcome| matches!(outcome, Outcome::Failure(..)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    BytesStart::new(element).with_attributes([
        ("name", name),
        ("tests", &cases.len().to_string()),
        ("skipped", &skipped),
        ("errors", "0"),
        ("failures", &failures),
    ])
}

fn write_case(writer: &mut Writer<Vec<u8>>, case: &Case) -> anyhow::Result<()> {
    let mut element = BytesStart::new("testcase").with_attributes([("name", case.name.as_str())]);
    if let Some(class) = &case.class {
        element.push_attribute(("classname", class.as_str()));
    }
    element.push_attribute(("time", format!("{:.3}", case.seconds).as_str()));
    match &case.outcome {
        Outcome::Success => writer.write_event(Event::Empty(element))?,
        Outcome::Skipped(message) => {
            writer.write_event(Event::Start(element))?;
            writer.write_event(Event::Empty(BytesStart::new("skipped").with_attributes([("message", *message)])))?;
            writer.write_event(Event::End(BytesEnd::new("testcase")))?;
        }
        Outcome::Failure(kind, message, description) => {
            writer.write_event(Event::Start(element))?;
            let mut failure = BytesStart::new("failure").with_attributes([("message", message.as_str())]);
            failure.extend_attributes(kind.iter().map(|kind| ("type", *kind)));
            writer.write_event(Event::Start(failure))?;
            writer.write_event(Event::Text(BytesText::new(description)))?;
            writer.write_event(Event::End(BytesEnd::new("failure")))?;
            writer.write_event(Event::End(BytesEnd::new("testcase")))?;
        }
    }
    Ok(())
}

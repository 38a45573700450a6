//! One requirement of the page: a row that unfolds.

use super::class;
use crate::excerpts::Excerpts;
use crate::model::{Aspect, AspectStatus, Place, Row};
use crate::mutants::Verdict;
use crate::render::{mutants_line, proof_line};
use crate::status::status;
use maud::{Markup, html};

/// The row. The filters look at its `data-` attributes.
pub(super) fn details(row: &Row, excerpts: &Excerpts) -> Markup {
    let status = status(row);
    let state_of = |aspect: &Aspect| format!("{} {}", aspect.name(), state(row, aspect));
    let levels: Vec<String> = row.aspects().iter().map(state_of).collect();
    let packages: Vec<&str> = row.packages().into_iter().collect();
    let requirement = &row.requirement;
    html! {
        details.row id=(requirement.id) data-status=(status.name()) data-level=(levels.join("|")) data-crate=(packages.join("|")) {
            summary {
                span.badge.(class(status)) { (status.name()) }
                span.id { (requirement.id) }
                span.levels aria-label=(levels.join(", ")) {
                    @for aspect in row.aspects() {
                        span.(state(row, aspect)) title=(state_of(aspect)) {
                            (aspect.name().chars().next().unwrap_or('?').to_ascii_uppercase())
                        }
                    }
                }
                span.text { (inline_code(&requirement.text)) }
            }
            div.body {
                p.at { code { (requirement.location) } }
                @for note in &row.notes { blockquote { (note.text) " " code { (note.location) } } }
                @for aspect in row.aspects() { (evidence(row, aspect, excerpts)) }
                (mutants(row))
                @if let Some(proof) = &row.proof {
                    h3 { "Mutants that its own tests notice" }
                    p { (proof_line(proof)) @if let Some(reason) = &proof.reason { ": " (reason) } }
                }
            }
        }
    }
}

fn state(row: &Row, aspect: &Aspect) -> &'static str {
    match row.aspect(aspect) {
        AspectStatus::Present => "present",
        AspectStatus::Waived => "waived",
        AspectStatus::Missing => "missing",
        AspectStatus::Optional => "optional",
    }
}

fn evidence(row: &Row, aspect: &Aspect, excerpts: &Excerpts) -> Markup {
    html! {
        h3 { (aspect.title()) }
        @if let Some(excuse) = row.excuse(aspect) {
            p { "Waived" @if let Some(until) = excuse.until { " until " (until) } ": " (excuse.reason) " " code { (excuse.location) } }
        } @else if row.places(aspect).is_empty() {
            p.lacking { @if row.aspect(aspect) == AspectStatus::Missing { "Missing" } @else { "Not required" } }
        }
        @if !aspect.is_test() {
            @for place in row.places(aspect) { (code(place, excerpts)) }
        } @else if !row.places(aspect).is_empty() {
            ul.tests { @for place in row.places(aspect) { (test(place)) } }
        }
    }
}

fn code(place: &Place, excerpts: &Excerpts) -> Markup {
    html! {
        figure {
            figcaption { code { (place.location) } " in " code { (place.target.name) } }
            pre tabindex="0" {
                @for (number, line) in excerpts.lines(place) {
                    span.(if number == place.location.line { "line tag" } else { "line" }) {
                        i { (number) } (line) "\n"
                    }
                }
            }
        }
    }
}

fn test(place: &Place) -> Markup {
    html! {
        li {
            @if let Some(ran) = place.ran {
                span.badge.(format!("s-{}", ran.outcome.name().replace(' ', "-"))) { (ran.outcome.name()) }
                " " (format!("{:.3} s", ran.seconds))
                @if ran.cases > 1 { " · " (ran.cases) " cases" }
                " "
            }
            code.name { (place.target.test) } " " code.at { (place.location) }
        }
    }
}

fn mutants(row: &Row) -> Markup {
    html! {
        @if let Some(line) = mutants_line(row) {
            h3 { "Mutants" }
            p { (line) }
            ul.mutants {
                @for mutant in &row.mutants {
                    li {
                        span.badge.(verdict_class(mutant.verdict)) { (mutant.verdict.name()) }
                        @if mutant.by_own_test { " by its own test" }
                        " " code { (mutant.name) }
                    }
                }
            }
        }
    }
}

fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Caught => "s-passed",
        Verdict::Missed => "s-failed",
        Verdict::TimedOut => "s-not-run",
        Verdict::Unviable => "s-waived",
    }
}

/// Text with its back-ticks as code.
fn inline_code(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

//! The report as one self-contained page: no network, no files beside it.
//!
//! The page works without its script, too. Every row is a `<details>`, and only filters and search need the script.

mod row;

use super::{count, findings_line, proofs_line, totals};
use crate::excerpts::Excerpts;
use crate::model::{Aspect, AspectStatus, Model, Traced};
use crate::status::Status;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeSet;

const STYLE: &str = include_str!("style.css");
/// The number of documents from which on their bars are folded.
const MANY: usize = 12;
const SCRIPT: &str = include_str!("script.js");

/// The whole page.
pub(super) fn report(model: &Model, excerpts: &Excerpts) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Requirements" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Requirements" }
                    @if let Some(began) = &model.began { p.when { "Tests ran " time datetime=(began) { (began) } } }
                    (totals_of(model))
                    @if let Some(line) = proofs_line(model) { p.proofs { (line) } }
                }
                main {
                    section aria-label="Documents" { (strips(model)) }
                    (findings(model))
                    (filters(model))
                    section #rows aria-label="Requirements" {
                        @for document in &model.documents {
                            h2 { (document.path) }
                            @for row in &document.rows { (row::details(row, excerpts)) }
                        }
                        p #none hidden { "No requirement is left: widen the filters." }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn totals_of(model: &Model) -> Markup {
    html! {
        ul.totals {
            li { b { (model.rows().count()) } " requirements" }
            @for (status, count) in totals(model.documents.iter()) {
                li.(class(status)) { b { (count) } " " (status.name()) }
            }
            li.(if model.findings.is_empty() { "s-proven" } else { "s-failed" }) {
                (findings_line(model))
            }
        }
    }
}

/// A bar per document. Many of them are folded, because the filters stand below.
fn strips(model: &Model) -> Markup {
    let bars = html! { @for document in &model.documents { (strip(document)) } };
    html! {
        @if model.documents.len() > MANY {
            details.findings { summary { (model.documents.len()) " documents" } (bars) }
        } @else {
            (bars)
        }
    }
}

/// A bar that shows the share of each status in a document, and its numbers by level.
fn strip(document: &Traced) -> Markup {
    let of_level = |aspect: &Aspect| {
        let present = count(document, aspect, AspectStatus::Present);
        format!("{} {present}/{}", aspect.name(), document.rows.len())
    };
    let totals = totals(std::iter::once(document));
    let words: Vec<String> = totals.iter().map(|(status, count)| format!("{count} {}", status.name())).collect();
    html! {
        div.strip {
            div.about { b { (document.path) } " " span { (document.aspects.iter().map(of_level).collect::<Vec<_>>().join(" · ")) } }
            div.bar role="img" aria-label=(words.join(", ")) {
                @for (status, count) in &totals {
                    i.(class(*status)) style=(format!("flex-grow:{count}")) title=(format!("{count} {}", status.name())) {}
                }
            }
        }
    }
}

fn findings(model: &Model) -> Markup {
    html! {
        @if !model.findings.is_empty() {
            details.findings {
                summary { (findings_line(model)) }
                ul {
                    @for finding in &model.findings {
                        li {
                            code { (finding.location) } " " b { (finding.kind.name()) } " " (finding.message)
                            div.hint { (finding.kind.hint()) }
                        }
                    }
                }
            }
        }
    }
}

fn filters(model: &Model) -> Markup {
    let statuses = totals(model.documents.iter()).into_iter().map(|(status, _)| status.name());
    let packages: BTreeSet<&str> = model.rows().flat_map(|row| row.packages()).collect();
    html! {
        form #filters role="search" aria-label="Filters" {
            label { "Search" input #search type="search" name="q" placeholder="id, text, file, test" autocomplete="off"; }
            label { "Status" (select("status", statuses)) }
            label {
                "Level"
                (select("level", model.aspects.iter().flat_map(|aspect| {
                    ["present", "waived", "missing"].map(|state| format!("{} {state}", aspect.name()))
                })))
            }
            @if !packages.is_empty() { label { "Crate" (select("crate", packages.into_iter())) } }
            button type="reset" { "Clear" }
            button #unfold type="button" aria-pressed="false" { "Unfold all" }
            output #shown aria-live="polite" {}
        }
        p.keys { kbd { "/" } " search · " kbd { "j" } " " kbd { "k" } " next, previous · " kbd { "Enter" } " unfold · " kbd { "Esc" } " clear" }
    }
}

fn select(name: &str, values: impl Iterator<Item = impl AsRef<str>>) -> Markup {
    html! {
        select name=(name) {
            option value="" { "all" }
            @for value in values { option value=(value.as_ref()) { (value.as_ref()) } }
        }
    }
}

fn class(status: Status) -> String {
    format!("s-{}", status.name().replace(' ', "-"))
}

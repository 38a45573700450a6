//! The findings as SARIF 2.1.0, which code hosts show beside the lines.

use crate::finding::{Finding, Kind};
use crate::model::Model;
use serde_json::{Value, json};

/// One run with a rule for every kind of finding.
pub(super) fn report(model: &Model) -> anyhow::Result<String> {
    let rules: Vec<Value> = Kind::ALL
        .iter()
        .map(|kind| {
            json!({
                "id": kind.name(),
                "shortDescription": { "text": kind.name().replace('-', " ") },
                "fullDescription": { "text": kind.about() },
                "help": { "text": kind.hint() },
                "defaultConfiguration": { "level": "error" },
            })
        })
        .collect();
    let results: Vec<Value> = model.findings.iter().map(result).collect();
    let report = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "srs-report", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": { "ROOT": { "description": { "text": "The project's root" } } },
            "results": results,
        }],
    });
    Ok(format!("{report:#}\n"))
}

fn result(finding: &Finding) -> Value {
    let Finding { location, kind, message } = finding;
    json!({
        "ruleId": kind.name(),
        "ruleIndex": Kind::ALL.iter().position(|it| it == kind),
        "level": "error",
        "message": { "text": format!("{message}. Hint: {}.", kind.hint()) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&location.path), "uriBaseId": "ROOT" },
                "region": { "startLine": location.line },
            },
        }],
    })
}

/// A path as a URI reference: characters that a URI may not hold become hexadecimal.
fn uri(path: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    path.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri() {
        assert_eq!(uri("docs/a b/é.md"), "docs/a%20b/%C3%A9.md");
    }
}

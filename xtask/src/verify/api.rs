//! Checks that the Rust API has lost nothing.

use super::run::Run;
use anyhow::ensure;

const LIBRARIES: &str = "-p async-socket-api -p completion-port -p async-socket-linux";

/// The state that the Rust API is compared with. It is a commit, because nothing is released yet. After the first
/// release, it is that release.
const BASELINE: &str = "53a8b80";

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let known = run.printed(run.command(&format!("git cat-file -e {BASELINE}")))?.ok;
    ensure!(known, "the history back to {BASELINE} is missing");
    run.succeeds(run.command(&format!("cargo semver-checks {LIBRARIES} --baseline-rev {BASELINE}")))?;
    Ok(format!("nothing that was there in {BASELINE} is gone"))
}

//! Whether the Rust API still has what it had.

use super::run::Run;
use anyhow::ensure;

const LIBRARIES: &str = "-p async-socket-api -p completion-port -p async-socket-linux";

/// What the Rust API is compared with. Nothing is released yet, so that this is a state of the repository; once there is
/// a release, it is that.
const BASELINE: &str = "53a8b80";

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let known = run.printed(run.command(&format!("git cat-file -e {BASELINE}")))?.ok;
    ensure!(known, "the history back to {BASELINE} is missing");
    run.succeeds(run.command(&format!("cargo semver-checks {LIBRARIES} --baseline-rev {BASELINE}")))?;
    Ok(format!("nothing that was there in {BASELINE} is gone"))
}

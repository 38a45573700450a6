//! Checks the libraries for other processors than this machine's: each compiles or explains why it cannot.

use super::run::Run;
use anyhow::ensure;

/// Another one with 64 bits, one with 32 bits, and a big-endian one with 64 bits.
pub(super) const CHECKED: [&str; 3] =
    ["aarch64-unknown-linux-gnu", "i686-unknown-linux-gnu", "s390x-unknown-linux-gnu"];

/// Has no 64-bit atomics.
pub(super) const REFUSED: &str = "powerpc-unknown-linux-gnu";

const LIBRARIES: &str = "-p async-socket-api -p completion-port -p async-socket-linux -p async-socket-ffi";

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let targets = CHECKED.map(|target| format!("--target {target}")).join(" ");
    run.succeeds(run.command(&format!("cargo check --all-features {LIBRARIES} {targets}")))?;
    let refused = run.printed(run.command(&format!("cargo check -p completion-port --target {REFUSED}")))?;
    ensure!(!refused.ok, "{REFUSED} compiles after all: README.md and completion-port say that it does not");
    let explained = refused.text.contains("completion-port needs 64-bit atomics");
    ensure!(explained, "{REFUSED} does not compile, without saying why; see {}", run.log().display());
    Ok(format!("compiles for {}; {REFUSED} is told why not", CHECKED.join(", ")))
}

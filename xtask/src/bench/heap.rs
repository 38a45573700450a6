//! The server's use of the heap, as valgrind's DHAT counts it: every allocation and the exact bytes asked for. It works
//! for any language and without a change to the server.

use super::servers::{Kind, Programs, Server};
use anyhow::{Context as _, bail};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) struct Heap {
    /// Allocations in all.
    pub(crate) allocations: u64,
    /// The peak of the allocated bytes.
    pub(crate) most_bytes: u64,
}

/// Runs a server under DHAT while `meet` runs. Keeps the result of `meet` until the server has ended.
pub(crate) fn of<T>(
    programs: &Programs,
    kind: &Kind,
    more: &[&str],
    meet: impl FnOnce(&Server) -> anyhow::Result<T>,
) -> anyhow::Result<Heap> {
    let scratch = tempfile::tempdir()?;
    let (out, log) = (scratch.path().join("dhat.out"), scratch.path().join("log"));
    let wrapper = [
        "valgrind".to_owned(),
        "--tool=dhat".to_owned(),
        format!("--dhat-out-file={}", out.display()),
        format!("--log-file={}", log.display()),
    ];
    let server = Server::start(kind, programs.server(kind, &wrapper, more))?;
    let met = meet(&server)?;
    server.stop()?;
    drop(met);
    read(&log)
}

fn read(log: &Path) -> anyhow::Result<Heap> {
    let text = fs::read_to_string(log)?;
    // `==1== At t-gmax:  1,234 bytes in 5 blocks`
    let counts = |label: &str| -> anyhow::Result<[u64; 2]> {
        let (_, rest) = text.split_once(label).with_context(|| format!("DHAT says nothing of {label}"))?;
        let line = rest.lines().next().unwrap_or_default().replace(',', "");
        let numbers = line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>();
        numbers.try_into().ok().with_context(|| format!("DHAT says {line}"))
    };
    let ([_, allocations], [most_bytes, _]) = (counts("Total: ")?, counts("At t-gmax:")?);
    Ok(Heap { allocations, most_bytes })
}

/// Waits until the server has accepted this many connections: until it has that many descriptors, and a moment more.
pub(crate) fn wait_until_accepted(server: &Server, connections: usize) -> anyhow::Result<()> {
    let patience = Instant::now() + Duration::from_secs(60);
    while fs::read_dir(format!("/proc/{}/fd", server.pid()))?.count() < connections + 3 {
        if Instant::now() > patience {
            bail!("the server does not accept {connections} connections");
        }
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(300));
    Ok(())
}

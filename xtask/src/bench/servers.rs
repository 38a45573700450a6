//! The compared servers: how to build, start and stop each.

use crate::workspace;
use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// A server, under the name that tables and limits use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

const fn kind(name: &'static str, program: &'static str, arguments: &'static [&'static str]) -> Kind {
    Kind { name, program, arguments }
}

pub(crate) const EPOLL: Kind = kind("bare epoll", "server-epoll", &[]);
pub(crate) const EPOLL_AGAIN: Kind = kind("bare epoll again", "server-epoll", &[]);
pub(crate) const EPOLL_ONE_SHOT: Kind = kind("bare epoll, one-shot", "server-epoll", &["--one-shot"]);
pub(crate) const OURS: Kind = kind("ours", "server-ours", &[]);
pub(crate) const OURS_POOLED: Kind = kind("ours, pooled", "server-ours", &["--pool", "1000"]);
pub(crate) const OURS_POLLING: Kind = kind("ours, polling 50 us", "server-ours", &["--busy-poll", "50"]);
/// With an idle time-out of a minute on every connection.
pub(crate) const OURS_IDLE: Kind = kind("ours, idle time-out", "server-ours-idle", &[]);
pub(crate) const OURS_IDLE_POOLED: Kind = kind("ours, pooled, idle time-out", "server-ours-idle", &["--pool", "1000"]);
pub(crate) const OURS_TWO_PORTS: Kind = kind("ours, two ports", "server-ours", &["--threads", "2"]);
/// With the counts of each socket on.
pub(crate) const OURS_COUNTING: Kind = kind("ours, counting", "server-counting", &[]);
/// The example program of the C ABI, which only echoes.
pub(crate) const OURS_C: Kind = kind("ours, C ABI", "echo_server", &[]);
/// async-socket-futures, a task for each connection.
pub(crate) const FUTURES: Kind = kind("futures", "server-futures", &[]);
pub(crate) const MIO: Kind = kind("mio", "server-mio", &[]);
pub(crate) const TOKIO: Kind = kind("tokio", "server-tokio", &[]);
pub(crate) const TOKIO_AGAIN: Kind = kind("tokio again", "server-tokio", &[]);
pub(crate) const TOKIO_MULTI: Kind = kind("tokio, two threads", "server-tokio", &["--threads", "2"]);
pub(crate) const SMOL: Kind = kind("smol", "server-smol", &[]);

pub(crate) const HYPER_TOKIO: Kind = kind("hyper on tokio", "hyper-tokio", &[]);
pub(crate) const HYPER_TOKIO_AGAIN: Kind = kind("hyper on tokio again", "hyper-tokio", &[]);
pub(crate) const HYPER_FUTURES: Kind = kind("hyper on futures", "hyper-futures", &[]);

impl Kind {
    pub(crate) fn only_echoes(&self) -> bool {
        [OURS_C, OURS_POOLED, OURS_POLLING].contains(self)
    }

    pub(crate) fn is_c(&self) -> bool {
        *self == OURS_C
    }
}

/// The paths of the built programs.
pub(crate) struct Programs {
    rust: PathBuf,
    c: PathBuf,
}

impl Programs {
    /// Builds our servers. With `with_peers`, also builds the servers of other libraries.
    pub(crate) fn build(with_peers: bool) -> anyhow::Result<Self> {
        let (shell, target) = (Shell::new()?, workspace::target_dir()?);
        shell.change_dir(workspace::root()?);
        // Optimised across crates, as the C library is.
        let peers = with_peers.then_some("--features=peers");
        cmd!(shell, "cargo build --quiet --profile c-abi -p bench --bins {peers...}").quiet().run()?;
        let prefix = target.join("bench");
        cmd!(shell, "cargo xtask install --prefix {prefix}").quiet().run()?;
        let (lib, include, c) =
            (prefix.join("lib/libasync_socket.a"), prefix.join("include"), prefix.join("echo_server"));
        let source = "crates/async-socket-ffi/examples/echo_server.c";
        cmd!(shell, "cc -std=c99 -O2 -g -pthread -I{include} {source} -o {c} {lib} -ldl -lm").quiet().run()?;
        Ok(Self { rust: target.join("c-abi"), c })
    }

    /// The command of a server. `wrapper` runs it if `wrapper` is not empty.
    pub(crate) fn server(&self, kind: &Kind, wrapper: &[String], more: &[&str]) -> Command {
        let program = if kind.is_c() { self.c.clone() } else { self.rust.join(kind.program) };
        let mut command = wrapped(program, wrapper);
        // The C program takes only a port.
        if !kind.is_c() {
            command.args(kind.arguments).args(more);
        }
        command
    }

    /// The command of one of our other programs.
    pub(crate) fn other(&self, name: &str, wrapper: &[String]) -> Command {
        wrapped(self.rust.join(name), wrapper)
    }
}

fn wrapped(program: PathBuf, wrapper: &[String]) -> Command {
    match wrapper {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

/// A server that runs. It is killed when dropped.
pub(crate) struct Server {
    child: Child,
    is_c: bool,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(kind: &Kind, mut command: Command) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot start {command:?}"))?;
        let mut address = String::new();
        let output = child.stdout.take().context("it was piped")?;
        let read = BufReader::new(output).read_line(&mut address);
        let server = Self { child, is_c: kind.is_c(), address: address.trim().to_owned() };
        if read? == 0 {
            bail!("{} did not start", kind.name);
        }
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        if self.is_c {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, Signal::TERM)?;
        }
        let patience = Instant::now() + Duration::from_secs(60);
        while Instant::now() < patience {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() { Ok(()) } else { bail!("the server ended with {status}") };
            }
            thread::sleep(Duration::from_millis(2));
        }
        bail!("the server does not end")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

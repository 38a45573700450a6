//! Other people's programs as processes.

use crate::LIMIT;
use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program that `timeout` ends at the limit.
#[must_use]
pub fn program(name: &str) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=5").arg(LIMIT.as_secs().to_string()).arg(name).stdin(Stdio::null());
    command
}

/// curl, which fails if the server says so.
#[must_use]
pub fn curl() -> Command {
    let mut curl = program("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
    curl
}

/// The standard output of a program that has to succeed.
///
/// # Errors
/// What the program printed to standard error, if it fails.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed ({}): {text}{said}", output.status);
    Ok(text)
}

/// A port of the loopback interface on which nothing listens.
///
/// # Errors
/// If there is none.
pub fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    process: Child,
    end: Signal,
}

impl Server {
    /// Starts a server and waits until it accepts connections at the address. Its output goes to `log`. Dropping it sends it
    /// the signal `end`.
    ///
    /// # Errors
    /// What the server printed, if it ends or does not listen in time.
    pub fn start(mut command: Command, address: SocketAddr, log: &Path, end: Signal) -> anyhow::Result<Self> {
        let file = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process = command.spawn().with_context(|| format!("{command:?}"))?;
        let mut server = Self { address, process, end };
        let listens =
            || server.process.try_wait().is_ok_and(|ended| ended.is_some()) || TcpStream::connect(address).is_ok();
        until("it listens", listens)?;
        let said = || fs::read_to_string(log).unwrap_or_default();
        ensure!(server.process.try_wait()?.is_none(), "{command:?} has ended: {}", said());
        Ok(server)
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// If the process has ended and nothing is left of it to send the signal to.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = Pid::from_raw(self.process.id().try_into()?);
        Ok(kill(id, signal)?)
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        until("the process has ended", || !matches!(self.process.try_wait(), Ok(None)))
    }
}

/// Looks again and again, until something is true.
///
/// # Errors
/// If it is not true in time.
pub fn until(what: &str, mut is_true: impl FnMut() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_true() {
        ensure!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error says that it has ended, or does not end.
        let _ = self.signal(self.end);
        let _ = self.wait();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Lets a command run as another user, for programs that refuse root. Gives that user the folder. Nothing happens if the
/// caller is not root.
///
/// # Errors
/// If there is no such user.
pub fn as_user(command: &mut Command, name: &str, folder: &Path) -> anyhow::Result<()> {
    if Uid::effective().is_root() {
        let user = User::from_name(name)?.with_context(|| format!("there is no user {name}"))?;
        std::os::unix::fs::chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    Ok(())
}

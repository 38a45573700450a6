//! This process as the kernel sees it, and children that run one test alone.

use crate::{LIMIT, eventually};
use std::fs;
use std::io::Read;
use std::os::fd::RawFd;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Set in children.
const CHILD: &str = "INTEGRATION_TEST_CHILD";

/// Tests of one binary that count the process's resources must not run at the same time.
///
/// Also waits for the threads of earlier tests' ports, because the kernel counts a thread for a moment after it can be
/// joined.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    eventually("the ports of earlier tests have ended", || port_threads().is_empty());
    alone
}

/// How many descriptors are open.
#[must_use]
pub fn descriptors() -> usize {
    // Without the one that lists them.
    fs::read_dir("/proc/self/fd").expect("/proc").count() - 1
}

/// Whether a descriptor of this number is open.
#[must_use]
pub fn is_open(descriptor: RawFd) -> bool {
    fs::symlink_metadata(format!("/proc/self/fd/{descriptor}")).is_ok()
}

/// The epoll entries of this process that watch a descriptor, as `/proc` shows them.
#[must_use]
pub fn epoll_entries(descriptor: RawFd) -> Vec<String> {
    let mut entries = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo").expect("/proc").flatten() {
        // Others open and close descriptors meanwhile.
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let watches = |line: &&str| {
            let mut words = line.split_whitespace();
            words.next() == Some("tfd:") && words.next() == Some(descriptor.to_string().as_str())
        };
        entries.extend(info.lines().filter(watches).map(str::to_owned));
    }
    entries
}

/// The ids of the threads that run completion ports.
#[must_use]
pub fn port_threads() -> Vec<i32> {
    let is_port = |id: &i32| {
        fs::read_to_string(format!("/proc/self/task/{id}/comm")).is_ok_and(|name| name.trim_end() == "completion-port")
    };
    let tasks = fs::read_dir("/proc/self/task").expect("/proc").flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).filter(is_port).collect()
}

/// How many threads this process has.
#[must_use]
pub fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("/proc").count()
}

/// The id of the calling thread.
#[must_use]
pub fn this_thread() -> i32 {
    nix::unistd::gettid().as_raw()
}

/// How much processor time a thread has used.
#[must_use]
pub fn cpu_time(thread: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).expect("the thread lives");
    // The name, which is in parentheses, may contain anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..=12].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// The resident memory in kibibytes.
#[must_use]
pub fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Whether this process is a child that [`run_child`] started.
#[must_use]
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn read_aside(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut said = String::new();
        let _ = pipe.read_to_string(&mut said);
        said
    })
}

/// The whole name of the test of this binary whose name ends with `test`. If tests are grouped, the module comes first.
#[must_use]
pub fn whole_name(test: &str) -> String {
    let mut list = Command::new(std::env::current_exe().expect("this binary"));
    let listed = list.args(["--list", "--format", "terse"]).output().expect("this binary lists its tests");
    let listed = String::from_utf8(listed.stdout).expect("names are text");
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let mut found =
        names.filter(|name| name.strip_suffix(test).is_some_and(|rest| rest.is_empty() || rest.ends_with("::")));
    let name = found.next().unwrap_or_else(|| panic!("this binary has no test {test}"));
    assert_eq!(found.next(), None, "more than one test is called {test}");
    name.to_owned()
}

/// Runs one test of this binary again in a process of its own. Unless the test passes, panics with its output.
///
/// `prepare` can change how the process is started.
pub fn run_child(test: &str, prepare: impl FnOnce(&mut Command)) {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args([&whole_name(test), "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    prepare(&mut command);
    let mut child = command.spawn().expect("the child starts");
    let stdout = read_aside(child.stdout.take().expect("piped"));
    let stderr = read_aside(child.stderr.take().expect("piped"));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("the child can be waited for") {
            Some(status) => break Some(status),
            None if start.elapsed() > LIMIT => break None,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let said = format!("{}{}", stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    match status {
        Some(status) => assert!(status.success(), "the child ended with {status}:\n{said}"),
        None => panic!("the child was not done within {LIMIT:?}:\n{said}"),
    }
}

/// The kernel's name of the calling thread.
#[must_use]
pub fn thread_name() -> String {
    std::fs::read_to_string("/proc/thread-self/comm").expect("/proc").trim_end().to_owned()
}

//! The example of the front page, as a process of its own.
#![allow(clippy::unwrap_used, reason = "a test fails with it")]

#[path = "../examples/lines.rs"]
#[allow(dead_code, reason = "its `main`")]
mod lines;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Tells this program to be the example, with these arguments.
const ARGUMENTS: &str = "ARGUMENTS_OF_THE_EXAMPLE";

/// Not a test of its own: the others start it in a process, because they cannot rely on cargo to have built the example.
#[test]
fn the_program() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let status = lines::start(arguments.split_whitespace().map(str::to_owned));
    // What `main` would return. `ExitCode` cannot be compared, but it can be shown.
    let status = format!("{status:?}");
    let digits: String = status.chars().filter(char::is_ascii_digit).collect();
    std::process::exit(digits.parse().unwrap());
}

fn program(arguments: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_program", "--nocapture"]).env(ARGUMENTS, arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended(arguments: &str) -> Output {
    program(arguments).output().unwrap()
}

/// Kills the program if the test fails.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_answers_lines_and_ends_well_at_ctrl_c() {
    let mut started = Started(program("127.0.0.1:0").spawn().unwrap());
    let mut output = BufReader::new(started.0.stdout.take().unwrap()).lines();
    // The line of the test harness may be in front.
    let address = output.find_map(|line| Some(line.unwrap().split_once("listening on ")?.1.to_owned())).unwrap();
    let mut client = TcpStream::connect(address.split(';').next().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answers = BufReader::new(client.try_clone().unwrap());
    for word in ["one", "two"] {
        writeln!(client, "{word}").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, format!("you said {word}\n"));
    }

    kill(Pid::from_raw(started.0.id().try_into().unwrap()), Signal::SIGINT).unwrap();

    assert_eq!(answers.read(&mut [0]).unwrap(), 0, "the connection is closed");
    assert_eq!(started.0.wait().unwrap().code(), Some(0));
}

#[test]
fn its_exit_status_says_what_went_wrong() {
    let help = ended("--help");
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("Usage: lines [ADDRESS]"));
    for wrong in ["nonsense", "127.0.0.1:0 more"] {
        let output = ended(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("lines: it takes one address"));
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = ended(&taken.local_addr().unwrap().to_string());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("Address already in use"));
}

//! The program as cargo starts it. CI needs it to be built with the tests.

use std::process::Command;

#[test]
fn the_program_names_its_commands() {
    let help = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("--help").output().expect("it starts");
    let text = String::from_utf8(help.stdout).expect("help is text");
    for command in ["srs-report", "standalone", "header", "bench", "verify", "interop", "install", "ci"] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(command)), "{command} is missing in: {text}");
    }
}

//! The chat: lines go to all others, and who is slow, silent or long-winded has to go.

use crate::room::{Chat, Rules};
use crate::{LIMIT, bound, connected, engine};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const RULES: Rules = Rules { idle: LIMIT, queue: 64 * 1024 };

struct Member {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
    name: String,
}

/// Enters, and waits until another member has seen it.
fn enter(chat: &Chat, other: Option<&mut Member>) -> Member {
    let stream = connected(chat.address());
    let lines = BufReader::new(stream.try_clone().expect("a duplicate"));
    let name = stream.local_addr().expect("an address").to_string();
    if let Some(other) = other {
        assert_eq!(other.line(), format!("* {name} is here\n"));
    }
    Member { stream, lines, name }
}

impl Member {
    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("the room reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line in time");
        line
    }
}

fn open(rules: Rules) -> Chat {
    Chat::open(&engine(), bound(), rules).expect("a chat")
}

#[test]
fn a_line_goes_to_all_others_whole_however_it_came() {
    let chat = open(RULES);
    let mut one = enter(&chat, None);
    let mut two = enter(&chat, Some(&mut one));
    let mut three = enter(&chat, Some(&mut one));
    assert_eq!(two.line(), format!("* {} is here\n", three.name));

    one.say("hel");
    one.say("lo\nand");
    one.say(" more\n");

    for other in [&mut two, &mut three] {
        assert_eq!(
            [other.line(), other.line()],
            [format!("{}: hello\n", one.name), format!("{}: and more\n", one.name)]
        );
    }
    two.say("to you\n");
    assert_eq!(one.line(), format!("{}: to you\n", two.name));
    let name = two.name.clone();
    drop(two);
    assert_eq!(one.line(), format!("* {name} has left\n"));
}

#[test]
fn a_member_that_does_not_read_is_cut_off_and_the_others_go_on() {
    let chat = open(RULES);
    let mut talker = enter(&chat, None);
    let slow = enter(&chat, Some(&mut talker));
    let mut listener = enter(&chat, Some(&mut talker));
    let reader = std::thread::spawn(move || {
        let mut lines = 0;
        while listener.line() != "* good-bye\n" {
            lines += 1;
        }
        lines
    });
    let mut watcher = BufReader::new(talker.stream.try_clone().expect("a duplicate"));
    let gone = format!("* {} is gone", slow.name);
    let writer = std::thread::spawn(move || {
        let line = format!("{}\n", "x".repeat(4000));
        // Far more than the kernel's buffers and the queue take. Fails when the chat has ended.
        while talker.stream.write_all(line.as_bytes()).is_ok() {}
    });

    let mut line = String::new();
    while !line.starts_with(&gone) {
        line.clear();
        assert!(watcher.read_line(&mut line).expect("a line in time") > 0);
    }

    chat.end(Duration::ZERO);
    writer.join().expect("the writer ends");
    assert!(reader.join().expect("the reader ends") > 0);
    drop(slow);
}

#[test]
fn a_member_that_says_nothing_or_too_much_has_to_leave() {
    let chat = open(Rules { idle: Duration::from_millis(300), queue: 64 * 1024 });
    let mut silent = enter(&chat, None);
    let mut loud = enter(&chat, Some(&mut silent));

    loud.say(&"x".repeat(5000));

    assert_eq!(silent.line(), format!("* {} wrote a line that is too long\n", loud.name));
    // Then it falls asleep itself.
    assert_eq!(silent.stream.read(&mut [0]).expect("the end in time"), 0);
}

#[test]
fn the_end_says_good_bye_and_waits_for_those_who_leave() {
    let chat = open(RULES);
    let address = chat.address().clone();
    let mut one = enter(&chat, None);
    let two = enter(&chat, Some(&mut one));
    drop(two);
    assert!(one.line().ends_with(" has left\n"));
    let leaving = std::thread::spawn(move || {
        assert_eq!(one.line(), "* good-bye\n");
        assert_eq!(one.line(), "", "the end of the stream");
    });

    assert_eq!(chat.end(LIMIT), 0);

    leaving.join().expect("it has left");
    assert!(TcpStream::connect(address.as_inet().expect("TCP")).is_err());
}

#[test]
fn the_end_cuts_off_those_who_stay() {
    let chat = open(RULES);
    let mut one = enter(&chat, None);
    let _two = enter(&chat, Some(&mut one));

    assert_eq!(chat.end(Duration::from_millis(50)), 2);
}

//! The payload: numbered messages with a pattern that depends on the number and the position.
//!
//! Each sender of a stream numbers its messages from 0 on. The [`Parser`] notices a lost, doubled or misplaced byte. It
//! also notices a message inside another message, and a refused message that arrives.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The length of a message's head.
pub(super) const HEAD: usize = 12;

/// The longest body.
const LONGEST: usize = 60_000;

const MARK: u8 = 0xa5;
const PERIOD: usize = 65_521;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(1);
    let period: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(PERIOD).collect();
    period.iter().chain(&period).copied().collect()
});

/// Makes the pattern if it does not exist yet.
pub(super) fn prepare() {
    LazyLock::force(&PATTERN);
}

/// The sender of a message, and the message's number among those of the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) sender: u16,
    pub(super) sequence: u32,
}

impl Number {
    fn body(self, length: usize) -> &'static [u8] {
        let start = (usize::from(self.sender) * 7_919 + self.sequence as usize * 104_729) % PERIOD;
        &PATTERN[start..start + length]
    }
}

/// A message whose body has `body` bytes.
pub(super) fn message(number: Number, body: usize) -> Vec<u8> {
    let length = u32::try_from(body).expect("short");
    let mut message = Vec::with_capacity(HEAD + body);
    message.push(MARK);
    message.extend(number.sender.to_be_bytes());
    message.extend(number.sequence.to_be_bytes());
    message.extend(length.to_be_bytes());
    message.push(message.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
    message.extend(number.body(body));
    message
}

/// Checks a stream piece by piece.
#[derive(Debug, Default)]
pub(super) struct Parser {
    head: Vec<u8>,
    /// The number, the length and the checked length of the message under way.
    body: Option<(Number, usize, usize)>,
    next: HashMap<u16, u32>,
    /// A number may be missing, because a send may fail before its first byte.
    gaps: bool,
}

impl Parser {
    pub(super) fn new(gaps: bool) -> Self {
        Self { gaps, ..Self::default() }
    }

    /// Checks the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let Some((number, length, done)) = &mut self.body else {
                let (now, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
                self.head.extend(now);
                bytes = rest;
                if self.head.len() == HEAD {
                    self.begin()?;
                }
                continue;
            };
            let (now, rest) = bytes.split_at(bytes.len().min(*length - *done));
            if now != &number.body(*length)[*done..*done + now.len()] {
                return Err(format!("wrong bytes in {number:?} of {length} after {done}"));
            }
            *done += now.len();
            bytes = rest;
            if done == length {
                self.body = None;
            }
        }
        Ok(())
    }

    /// Whether the last message was whole.
    pub(super) fn is_between_messages(&self) -> bool {
        self.head.is_empty() && self.body.is_none()
    }

    fn begin(&mut self) -> Result<(), String> {
        let head: [u8; HEAD] = self.head[..].try_into().map_err(|_| "a short head")?;
        self.head.clear();
        let [mark, s0, s1, q0, q1, q2, q3, l0, l1, l2, l3, sum] = head;
        let number = Number { sender: u16::from_be_bytes([s0, s1]), sequence: u32::from_be_bytes([q0, q1, q2, q3]) };
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let right = head[..HEAD - 1].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        if mark != MARK || sum != right || length > LONGEST {
            return Err(format!("no message begins with {head:?}"));
        }
        let next = self.next.entry(number.sender).or_default();
        if number.sequence < *next || (number.sequence > *next && !self.gaps) {
            return Err(format!("{number:?} where {next} was next"));
        }
        *next = number.sequence + 1;
        self.body = (length > 0).then_some((number, length, 0));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let numbers = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(sender, sequence)| Number { sender, sequence });
        numbers.iter().zip([5, 0, 700, 1]).flat_map(|(number, body)| message(*number, body)).collect()
    }

    fn check(bytes: &[u8], piece: usize) -> Result<Parser, String> {
        let mut parser = Parser::default();
        bytes.chunks(piece).try_for_each(|piece| parser.feed(piece))?;
        Ok(parser)
    }

    #[test]
    fn a_stream_of_messages_is_right_in_whatever_pieces_it_comes() {
        for piece in 1..50 {
            assert!(check(&stream(), piece).unwrap().is_between_messages());
        }
        assert!(!check(&stream()[..30], 7).unwrap().is_between_messages());
    }

    #[test]
    fn every_byte_that_is_lost_doubled_or_changed_shows() {
        let stream = stream();
        for at in 0..stream.len() - 1 {
            let wrong = |bytes: &[u8]| !check(bytes, 1000).is_ok_and(|parser| parser.is_between_messages());
            assert!(wrong(&[&stream[..at], &stream[at + 1..]].concat()), "lost {at}");
            assert!(wrong(&[&stream[..=at], &stream[at..]].concat()), "doubled {at}");
            assert!(wrong(&[&stream[..at], &[stream[at] ^ 1], &stream[at + 1..]].concat()), "changed {at}");
        }
    }

    #[test]
    fn a_message_that_comes_twice_or_too_early_shows() {
        let first = message(Number { sender: 0, sequence: 0 }, 9);
        let third = message(Number { sender: 0, sequence: 2 }, 9);
        assert!(check(&[first.clone(), first.clone()].concat(), 10).is_err());
        assert!(check(&[first.clone(), third.clone()].concat(), 10).is_err());
        let mut with_gaps = Parser::new(true);
        with_gaps.feed(&[first.clone(), third].concat()).unwrap();
        assert!(with_gaps.feed(&first).is_err());
    }
}

//! One line of text, on the stack.

use std::ffi::CStr;
use std::fmt;

const ROOM: usize = 1024;

/// The end of a line that was longer than the room for it.
const CUT: &str = "...";

/// Text without control characters, followed by a NUL.
pub(crate) struct Line {
    bytes: [u8; ROOM],
    len: usize,
    is_cut: bool,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; ROOM], len: 0, is_cut: false }
    }

    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Ends the line with a line break. `push` always leaves room for that.
    pub(super) fn end(&mut self) {
        self.bytes[self.len] = b'\n';
        self.len += 1;
    }

    fn push(&mut self, c: char) {
        let c = if c.is_control() { ' ' } else { c };
        // Room is kept for `CUT`, the line break and the NUL.
        if self.len + c.len_utf8() + CUT.len() + 2 > ROOM {
            self.is_cut = true;
            self.bytes[self.len..][..CUT.len()].copy_from_slice(CUT.as_bytes());
            self.len += CUT.len();
            return;
        }
        self.len += c.encode_utf8(&mut self.bytes[self.len..]).len();
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.is_cut {
                break;
            }
            self.push(c);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn a_line_has_no_line_break_inside_and_a_nul_behind_it() {
        let mut line = Line::new();
        write!(line, "a\nb\0c\u{1b}d é").unwrap();
        assert_eq!(line.as_str(), "a b c d é");
        assert_eq!(line.as_c_str().to_bytes(), "a b c d é".as_bytes());
        line.end();
        assert_eq!(line.as_bytes(), "a b c d é\n".as_bytes());
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters_and_says_so() {
        for length in 1000..1050 {
            let mut line = Line::new();
            write!(line, "{}", "x".repeat(length)).unwrap();
            write!(line, "é").unwrap();
            let is_cut = line.as_str().ends_with(CUT);
            assert_eq!(is_cut, length + 2 + CUT.len() + 2 > ROOM, "{length}");
            line.end();
            assert_eq!(line.as_c_str().to_bytes().last(), Some(&b'\n'));
        }
    }
}

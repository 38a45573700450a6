//! Rewrites a file into C that the parser understands, without moving anything.
//!
//! `TEST_FUNCTION(name) { … }` becomes `int t() { … }`. Comments, directives, and macros that stand alone, such as
//! `END_TEST_SUITE(suite)`, become blanks.

use super::lexer::Lexed;
use crate::sources::place::Item;
use fast_glob::glob_match;
use std::collections::HashMap;
use std::ops::Range;

/// The macros of known test frameworks that define a test: Macro Utils, c-testrunnerswitcher, gtest, Unity, Check, Catch2,
/// Boost, Criterion, ctest.h, `MinUnit`.
const TESTS: [&str; 22] = [
    "TEST_FUNCTION",
    "PARAMETERIZED_TEST_FUNCTION",
    "CTEST_FUNCTION",
    "TEST_METHOD",
    "TEST",
    "TEST_F",
    "TEST_P",
    "TYPED_TEST",
    "TYPED_TEST_P",
    "IGNORE_TEST",
    "START_TEST",
    "TEST_CASE",
    "SCENARIO",
    "CTEST",
    "CTEST2",
    "BOOST_AUTO_TEST_CASE",
    "BOOST_FIXTURE_TEST_CASE",
    "Test",
    "ParameterizedTest",
    "Theory",
    "TEST_BEGIN",
    "MU_TEST",
];

/// Those whose first argument is a suite: `TEST(Suite, name)`.
const WITH_SUITE: [&str; 9] =
    ["TEST", "TEST_F", "TEST_P", "TYPED_TEST", "TYPED_TEST_P", "CTEST", "CTEST2", "IGNORE_TEST", "Test"];

/// The words that end a test of a framework.
const ENDS: [&str; 2] = ["END_TEST", "TEST_END"];

/// The text for the parser.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// The ends of the outermost items.
    pub(super) ends: Vec<usize>,
    /// The functions that macros define, by the offset at which the macro begins.
    pub(super) named: HashMap<usize, Named>,
    /// Directives and macros that became blanks.
    pub(super) items: Vec<Item>,
}

/// A function that a macro defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    /// The suite of a test that has one: `TEST(Suite, name)`.
    pub(super) suite: Option<String>,
    pub(super) is_test: bool,
    pub(super) is_parametrised: bool,
    pub(super) cases: usize,
}

/// The text without its comments and directives, and with known macros as functions.
pub(super) fn rewrite(text: &str, lexed: &Lexed, comments: &[Range<usize>], test_macros: &[String]) -> Rewritten {
    let mut bytes = text.as_bytes().to_vec();
    let mut ends = lexed.pieces.ends.clone();
    let mut named = HashMap::new();
    let mut items = Vec::new();
    for comment in comments {
        blank(&mut bytes[comment.clone()]);
    }
    for directive in &lexed.directives {
        blank(&mut bytes[directive.range.clone()]);
        if !directive.is_conditional() {
            let is_macro = directive.word == "define";
            let name = if is_macro { directive.name.clone() } else { format!("#{}", directive.word) };
            items.push(Item::plain(name, directive.range.clone()));
        }
    }
    for branch in &lexed.dead {
        blank(&mut bytes[branch.clone()]);
    }
    let token = |index: usize| lexed.tokens.get(index).map_or("", |range| &text[range.clone()]);
    let mut before = "";
    let mut index = 0;
    while let Some(range) = lexed.tokens.get(index) {
        let name = token(index);
        if ENDS.contains(&name) {
            blank(&mut bytes[range.clone()]);
            index += 1;
            continue;
        }
        let begins_item = matches!(before, "" | ";" | "}" | "{" | ":");
        let is_test = TESTS.contains(&name) || test_macros.iter().any(|pattern| glob_match(pattern, name));
        let is_constant =
            || name.len() > 1 && name.bytes().all(|it| it == b'_' || it.is_ascii_uppercase() || it.is_ascii_digit());
        before = name;
        let is_call = token(index + 1) == "(" && begins_item && (is_test || is_constant());
        let Some(close) = is_call.then(|| closing(index + 1, &token)).flatten() else {
            index += 1;
            continue;
        };
        let head = range.start..lexed.tokens[close].end;
        let behind = token(close + 1);
        if behind == "{" && head.len() >= FUNCTION.len() {
            let arguments = arguments(index + 2, close, &token);
            blank(&mut bytes[head.clone()]);
            bytes[head.start..head.start + FUNCTION.len()].copy_from_slice(FUNCTION.as_bytes());
            named.insert(head.start, defined(name, &arguments, is_test));
            before = ")";
        } else if stands_alone(text, lexed, close, behind) {
            blank(&mut bytes[head.clone()]);
            items.push(Item::plain(name.to_owned(), head.clone()));
            if let Err(position) = ends.binary_search(&head.end) {
                ends.insert(position, head.end);
            }
            before = ";";
        } else {
            before = ")";
        }
        index = close + 1;
    }
    // Only whole tokens were replaced, and by ASCII.
    let text = String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned());
    Rewritten { text, ends, named, items }
}

const FUNCTION: &str = "int t()";

/// Whether a macro in a line of its own needs no semicolon: a name, a directive or nothing follows in another line.
fn stands_alone(text: &str, lexed: &Lexed, close: usize, behind: &str) -> bool {
    let end = lexed.tokens[close].end;
    let next = lexed.tokens.get(close + 1).map_or(text.len(), |next| next.start);
    let begins_other = behind.is_empty() || behind.starts_with(|it: char| it == '_' || it.is_alphabetic());
    begins_other && (text[end..next].contains('\n') || behind.is_empty())
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// The position of the token that closes the bracket at `open`.
fn closing<'t>(open: usize, token: &impl Fn(usize) -> &'t str) -> Option<usize> {
    let mut depth = 0_usize;
    for index in open.. {
        match token(index) {
            "(" => depth += 1,
            ")" => depth -= 1,
            "" | ";" | "{" if depth == 1 => return None,
            "" => return None,
            _ => {}
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

/// The arguments between two brackets, without blanks.
fn arguments<'t>(from: usize, close: usize, token: &impl Fn(usize) -> &'t str) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let mut depth = 0_usize;
    for index in from..close {
        let text = token(index);
        match text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if text == "," && depth == 0 {
            arguments.push(String::new());
        } else if let Some(last) = arguments.last_mut() {
            last.push_str(text);
        }
    }
    arguments
}

fn defined(name: &str, arguments: &[String], is_test: bool) -> Named {
    let argument =
        |index: usize| arguments.get(index).map(|it| it.trim_matches('"').to_owned()).filter(|it| !it.is_empty());
    let has_suite = is_test && WITH_SUITE.contains(&name);
    let suite = argument(0).filter(|_| has_suite && arguments.len() > 1);
    let own = if suite.is_some() {
        argument(1)
    } else if argument(0).is_none() && arguments.len() > 2 {
        // `MOCKABLE_FUNCTION(modifiers, result, name, …)`
        argument(2)
    } else {
        arguments.iter().find(|it| !it.is_empty()).cloned()
    };
    let own = own.map_or_else(|| name.to_owned(), |own| own.trim_matches('"').to_owned());
    let cases = arguments.iter().filter(|it| it.starts_with("CASE(")).count();
    let is_parametrised = cases > 0 || matches!(name, "TEST_P" | "TYPED_TEST" | "TYPED_TEST_P" | "TEST_CASE");
    Named { name: own, suite, is_test, is_parametrised, cases: cases.max(1) }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::lex;
    use super::*;

    #[test]
    fn macros_become_functions_and_blanks_at_the_same_offsets() {
        let source = "BEGIN_SUITE(a)\nTEST_FUNCTION(name)\n{ X(1); }\nTEST(S, n) {}\nF(a, b);\nEND_SUITE(a)\n";
        let rewritten = rewrite(source, &lex(source), &[], &[]);
        let expected = "              \nint t()            \n{ X(1); }\nint t()    {}\nF(a, b);\n            \n";
        assert_eq!(rewritten.text, expected);
        let mut names: Vec<(usize, String)> = rewritten
            .named
            .into_iter()
            .map(|(at, it)| (at, it.suite.into_iter().chain([it.name]).collect::<Vec<_>>().join(".")))
            .collect();
        names.sort();
        assert_eq!(names, [(15, "name".to_owned()), (45, "S.n".to_owned())]);
    }

    #[test]
    fn a_parametrised_test_has_its_cases() {
        let source = "PARAMETERIZED_TEST_FUNCTION(f, ARGS(int, a), CASE((0), b), CASE((1), c)) {}";
        let named = rewrite(source, &lex(source), &[], &[]).named;
        assert_eq!((named[&0].name.as_str(), named[&0].is_parametrised, named[&0].cases), ("f", true, 2));
    }

    #[test]
    fn a_call_is_no_definition() {
        let source = "int f() { if (x) TEST(a) { } return MAX(1, 2); }\nclass A { A(int b) { } };\n";
        let rewritten = rewrite(source, &lex(source), &[], &[]);
        assert_eq!((rewritten.text.as_str(), rewritten.named.len()), (source, 0));
    }
}

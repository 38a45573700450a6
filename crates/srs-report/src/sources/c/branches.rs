//! Finds the branches of `#if` that open or close a bracket.
//!
//! A parser cannot read both branches of `#if A`, `if (a) {`, `#else`, `if (b) {`, `#endif`. It gets the first one. A
//! single branch such as `#ifdef __cplusplus`, `extern "C" {`, `#endif` is dropped whole, and so is the one that closes
//! the bracket.

use super::lexer::Directive;
use std::ops::Range;

/// An `#if` that is not ended yet.
struct Open {
    /// The offset at which each of its branches begins, behind the branch's directive.
    starts: Vec<usize>,
    /// What each finished branch opens, less what it closes.
    balances: Vec<i64>,
    /// The offsets of its directives, except the first.
    borders: Vec<usize>,
    balance: i64,
}

/// The ranges that are kept from the parser, in order.
pub(super) fn dead(text: &str, tokens: &[Range<usize>], directives: &[Directive]) -> Vec<Range<usize>> {
    let mut dead: Vec<Range<usize>> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut tokens = tokens.iter().peekable();
    for directive in directives.iter().filter(|directive| directive.is_conditional()) {
        while let Some(token) = tokens.next_if(|token| token.start < directive.range.start) {
            let step = match &text[token.clone()] {
                "{" | "(" | "[" => 1,
                "}" | ")" | "]" => -1,
                _ => 0,
            };
            if let Some(innermost) = open.last_mut() {
                innermost.balance += step;
            }
        }
        if directive.word.starts_with("if") {
            open.push(Open {
                starts: vec![directive.range.end],
                balances: Vec::new(),
                borders: Vec::new(),
                balance: 0,
            });
            continue;
        }
        let Some(branches) = open.last_mut() else { continue };
        branches.balances.push(std::mem::take(&mut branches.balance));
        branches.borders.push(directive.range.start);
        if directive.word != "endif" {
            branches.starts.push(directive.range.end);
            continue;
        }
        let Some(Open { starts, balances, borders, .. }) = open.pop() else { continue };
        let is_balanced = balances.iter().all(|balance| *balance == 0);
        let is_single = balances.len() == 1;
        let kept = if is_single { None } else { balances.first() };
        // What is kept counts for the branch around.
        let counted = kept.copied().unwrap_or_default();
        if let Some(around) = open.last_mut() {
            around.balance += counted;
        }
        if !is_balanced {
            let first = usize::from(!is_single);
            let lost = starts.into_iter().zip(borders).skip(first).map(|(start, end)| start..end);
            for range in lost {
                // What was lost inside is lost with it.
                dead.retain(|inner| !(range.start <= inner.start && inner.end <= range.end));
                dead.push(range);
            }
        }
    }
    dead.sort_by_key(|range| range.start);
    dead
}

#[cfg(test)]
mod tests {
    use super::super::lexer::lex;

    fn left(source: &str) -> String {
        let mut text = source.to_owned();
        for range in lex(source).dead.into_iter().rev() {
            text.replace_range(range, "…");
        }
        text
    }

    #[test]
    fn of_branches_that_open_a_bracket_the_first_stays() {
        let source = "#if A\nif (a) {\n#elif B\nif (b) {\n#else\nif (c) {\n#endif\n}";
        assert_eq!(left(source), "#if A\nif (a) {\n#elif B…#else…#endif\n}");
        assert!(lex(source).pieces.is_balanced);
    }

    #[test]
    fn a_single_branch_that_opens_a_bracket_is_dropped_with_the_one_that_closes_it() {
        let source = "#ifdef X\nextern \"C\" {\n#endif\nint a;\n#ifdef X\n}\n#endif\n";
        assert_eq!(left(source), "#ifdef X…#endif\nint a;\n#ifdef X…#endif\n");
        assert!(lex(source).pieces.is_balanced);
    }

    #[test]
    fn branches_that_close_what_they_open_stay() {
        let source = "#if A\nint f(void) { }\n#else\nint f(void) { return; }\n#endif\n";
        assert_eq!(left(source), source);
    }
}

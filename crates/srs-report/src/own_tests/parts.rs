//! The parts of functions that have tags of their own, and the changes that cargo-mutants does not know.
//!
//! Requirements share functions. A tag in a body, directly above a statement, an arm, a field or a line, says that this
//! part implements its requirement. So what breaks the part concerns that requirement and no other. cargo-mutants often
//! has no change for a part: here the part is also left out, or its value or its condition becomes another.
//!
//! Of some code no change compiles. The last resort is that the process ends there, which shows that a test gets there.

use super::bodies::bodies;
use super::schemata::END;
use crate::mutants::{Change, Point, Span};
use std::ops::RangeInclusive;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Arm, Block, Expr, ExprMatch, FieldValue, LocalInit, Pat, Stmt};

/// A part of a function's body.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) lines: RangeInclusive<usize>,
    /// The changes that cargo-mutants does not know.
    pub(super) changes: Vec<Change>,
    pub(super) last_resort: Vec<Change>,
}

/// The last resort for each function in the lines.
pub(super) fn ends(path: &str, text: &str, lines: &[RangeInclusive<usize>]) -> syn::Result<Vec<Change>> {
    let tokens: proc_macro2::TokenStream = text.parse()?;
    let file = syn::parse2(tokens)?;
    let ends: Vec<Found> = bodies(&file).into_iter().map(|(_, block)| Found::end_of_process_in(block)).collect();
    proc_macro2::extra::invalidate_current_thread_spans();
    let is_wanted = |it: &Found| lines.iter().any(|lines| lines.contains(&it.span.start.line));
    Ok(ends.into_iter().filter(is_wanted).map(|it| it.of_file(path)).collect())
}

/// The part below each of the lines with a tag; `None` if the line is in no body or above no code.
pub(super) fn below(path: &str, text: &str, tags: &[usize]) -> syn::Result<Vec<Option<Part>>> {
    let tokens: proc_macro2::TokenStream = text.parse()?;
    let file: syn::File = syn::parse2(tokens)?;
    let parts = tags.iter().map(|tag| part(path, text, &file, *tag)).collect();
    proc_macro2::extra::invalidate_current_thread_spans();
    Ok(parts)
}

fn part(path: &str, text: &str, file: &syn::File, tag: usize) -> Option<Part> {
    let lines: Vec<&str> = text.lines().collect();
    // Code before a tag on its line is what the tag is about.
    let beside = lines.get(tag - 1).is_some_and(|line| is_code(line));
    let line = if beside { tag } else { (tag + 1..=lines.len()).find(|line| is_code(lines[line - 1]))? };
    if !bodies(file).into_iter().any(|(_, block)| is_in(block, tag)) {
        return None;
    }
    let mut finder = Finder { text, line, is_item: false, found: None };
    finder.visit_file(file);
    if finder.is_item {
        return None;
    }
    let Place { lines, changes, end } =
        finder.found.unwrap_or(Place { lines: line..=line, changes: Vec::new(), end: None });
    let of_file = |it: Found| it.of_file(path);
    let (changes, last_resort) = (changes.into_iter().map(of_file).collect(), end.into_iter().map(of_file).collect());
    Some(Part { lines, changes, last_resort })
}

/// Whether the line is in the braces.
fn is_in(block: &Block, line: usize) -> bool {
    let braces = block.brace_token.span;
    (braces.open().start().line..braces.close().end().line).contains(&line)
}

fn is_code(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with("//")
}

/// A change to a part, before it has a file.
#[derive(Debug)]
struct Found {
    what: String,
    span: Span,
    replacement: String,
}

impl Found {
    fn new(what: &str, span: proc_macro2::Span, replacement: &str) -> Self {
        let point = |at: proc_macro2::LineColumn| Point { line: at.line, column: at.column + 1 };
        Self {
            what: what.to_owned(),
            span: Span { start: point(span.start()), end: point(span.end()) },
            replacement: replacement.to_owned(),
        }
    }

    /// The process ends before the span.
    fn end(before: proc_macro2::Span) -> Self {
        let mut end = Self::new("end the process", before, END);
        end.span.end = end.span.start.clone();
        end
    }

    /// The process ends where the body begins.
    fn end_of_process_in(body: &Block) -> Self {
        let brace = body.brace_token.span.open();
        let mut end = Self::end(brace);
        end.span.start = end_of(brace);
        end.span.end = end_of(brace);
        end
    }

    fn of_file(self, path: &str) -> Change {
        let Point { line, column } = self.span.start;
        let name = format!("{path}:{line}:{column}: {}", self.what);
        Change { name, file: path.to_owned(), span: self.span, replacement: self.replacement }
    }

    fn another_value(expr: &Expr) -> Self {
        Self::new("replace the value with Default::default()", expr.span(), "Default::default()")
    }
}

/// Finds the outermost part that begins on `line`.
struct Finder<'t> {
    text: &'t str,
    line: usize,
    /// What begins there is an item, which has its own changes.
    is_item: bool,
    found: Option<Place>,
}

/// A part, before it has a file.
struct Place {
    lines: RangeInclusive<usize>,
    changes: Vec<Found>,
    end: Option<Found>,
}

fn end_of(span: proc_macro2::Span) -> Point {
    let end = span.end();
    Point { line: end.line, column: end.column + 1 }
}

impl Finder<'_> {
    fn take(&mut self, span: proc_macro2::Span, of: impl FnOnce() -> (Vec<Found>, Option<Found>)) {
        if self.found.is_none() && span.start().line == self.line {
            let (changes, end) = of();
            self.found = Some(Place { lines: span.start().line..=span.end().line, changes, end });
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_stmt(&mut self, stmt: &'ast Stmt) {
        if matches!(stmt, Stmt::Item(_)) {
            self.is_item |= stmt.span().start().line == self.line;
        } else {
            let text = self.text;
            self.take(stmt.span(), || (of_statement(stmt, text), Some(Found::end(stmt.span()))));
        }
        visit::visit_stmt(self, stmt);
    }

    fn visit_expr_match(&mut self, choice: &'ast ExprMatch) {
        for (index, arm) in choice.arms.iter().enumerate() {
            let beside = [index.checked_sub(1), Some(index + 1)];
            let beside = beside.into_iter().filter_map(|index| choice.arms.get(index?));
            let theirs: Vec<&str> = beside.map(|it| &self.text[it.body.span().byte_range()]).collect();
            let own = &self.text[arm.body.span().byte_range()];
            self.take(arm.span(), || {
                let body = format!("{{ {END} {own} }}");
                (of_arm(arm, &theirs), Some(Found::new("end the process", arm.body.span(), &body)))
            });
        }
        visit::visit_expr_match(self, choice);
    }

    fn visit_field_value(&mut self, field: &'ast FieldValue) {
        self.take(field.span(), || {
            (field.colon_token.iter().map(|_| Found::another_value(&field.expr)).collect(), None)
        });
        visit::visit_field_value(self, field);
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        self.take(expr.span(), || (vec![Found::another_value(expr)], None));
        visit::visit_expr(self, expr);
    }
}

fn of_statement(stmt: &Stmt, text: &str) -> Vec<Found> {
    let left_out = || Found::new("leave the statement out", stmt.span(), "");
    match stmt {
        Stmt::Item(_) => Vec::new(),
        Stmt::Macro(_) | Stmt::Expr(_, Some(_)) => vec![left_out()],
        Stmt::Local(local) => local.init.iter().map(|init| of_variable(&local.pat, init, text)).collect(),
        // Without an `else`, a condition that never holds is the same as no statement. One that always holds breaks what is
        // promised about the other case.
        Stmt::Expr(Expr::If(branch), None) if branch.else_branch.is_none() => vec![left_out()],
        Stmt::Expr(Expr::If(branch), None) if !has_pattern(&branch.cond) => {
            let becomes = |value| Found::new(&format!("replace the condition with {value}"), branch.cond.span(), value);
            vec![becomes("true"), becomes("false")]
        }
        Stmt::Expr(
            expr @ (Expr::Match(_) | Expr::ForLoop(_) | Expr::While(_) | Expr::Block(_) | Expr::Unsafe(_)),
            None,
        ) => {
            vec![left_out(), Found::another_value(expr)]
        }
        Stmt::Expr(expr, None) => vec![Found::another_value(expr)],
    }
}

/// The compiler often cannot tell the type of a `None` that nothing fills.
fn of_variable(pattern: &Pat, init: &LocalInit, text: &str) -> Found {
    let is_some = matches!(pattern, Pat::TupleStruct(it) if it.path.is_ident("Some"));
    if init.diverge.is_none() || !is_some {
        return Found::another_value(&init.expr);
    }
    let never = format!("({}).filter(|_| false)", &text[init.expr.span().byte_range()]);
    Found::new("replace the value with None", init.expr.span(), &never)
}

fn of_arm(arm: &Arm, neighbours: &[&str]) -> Vec<Found> {
    let is_empty = matches!(&*arm.body, Expr::Block(it) if it.block.stmts.is_empty());
    // The value may have been a block, which needs no comma behind it.
    let becomes = |what: &str, value: &str| Found::new(what, arm.body.span(), &format!("{{ {value} }}"));
    let mut all = Vec::new();
    if !is_empty {
        all.push(becomes("replace the value with Default::default()", "Default::default()"));
    }
    all.extend(neighbours.iter().map(|value| becomes("take the value of the arm beside", value)));
    if arm.guard.is_none() {
        let mut never = Found::new("leave the arm out", arm.pat.span(), " if false");
        never.span.start = never.span.end.clone();
        all.push(never);
    }
    all
}

/// Whether a condition is or has an `if let`.
fn has_pattern(condition: &Expr) -> bool {
    struct Lets(bool);
    impl Visit<'_> for Lets {
        fn visit_expr_let(&mut self, _: &syn::ExprLet) {
            self.0 = true;
        }
    }
    let mut lets = Lets(false);
    lets.visit_expr(condition);
    lets.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const TEXT: &str = "\
// above
fn f(a: u8) -> u8 {
    // statement
    g();
    // condition
    if a == 1 {
        // nested
        return 2;
    }
    // local
    let b = A {
        // field
        c: 1,
    };
    match b.c {
        // arm
        0 => {
            3
        }
        // nothing
        1 => {}
        _ => a
            // operand
            + 1, // beside
    }
    // otherwise
    let Some(d) = e else { return 4 };
    // choice
    if a == 2 {
        g();
    } else {
        h();
    }
    // item
    fn h() {}
}
trait T {
    fn i() {
        // default
        g();
    }
}
";

    #[rstest]
    #[case("statement", 4..=4, &["leave the statement out"])]
    #[case("condition", 6..=9, &["leave the statement out"])]
    #[case("nested", 8..=8, &["leave the statement out"])]
    #[case("local", 11..=14, &["replace the value with Default::default()"])]
    #[case("field", 13..=13, &["replace the value with Default::default()"])]
    #[case("arm", 17..=19, &["replace the value with Default::default()", "take the value of the arm beside", "leave the arm out"])]
    #[case("otherwise", 27..=27, &["replace the value with None"])]
    #[case("choice", 29..=33, &["replace the condition with true", "replace the condition with false"])]
    #[case("nothing", 21..=21, &["take the value of the arm beside", "take the value of the arm beside", "leave the arm out"])]
    #[case("default", 40..=40, &["leave the statement out"])]
    #[case("operand", 24..=24, &["replace the value with Default::default()"])]
    fn a_part_begins_below_its_tag(#[case] tag: &str, #[case] lines: RangeInclusive<usize>, #[case] changes: &[&str]) {
        let part = of(tag).expect("a part");
        assert_eq!(part.lines, lines);
        let names: Vec<&str> = part.changes.iter().filter_map(|it| it.name.splitn(4, ": ").last()).collect();
        assert_eq!(names, changes);
    }

    #[rstest]
    #[case("above")]
    #[case("item")]
    fn a_tag_above_an_item_is_about_the_item(#[case] tag: &str) {
        assert!(of(tag).is_none());
    }

    #[test]
    fn a_tag_after_code_is_about_its_line() {
        assert_eq!(of("beside").expect("a part").lines, 24..=24);
    }

    fn of(tag: &str) -> Option<Part> {
        let line = TEXT.lines().position(|line| line.contains(&format!("// {tag}"))).expect("the tag") + 1;
        below("f.rs", TEXT, &[line]).expect("Rust").pop().flatten()
    }
}

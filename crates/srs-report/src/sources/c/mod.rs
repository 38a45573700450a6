//! C and C++: [`lexer`] separates comments from code, [`branches`] drops branches of `#if` that would confuse a parser,
//! [`macros`] turns the macros that define tests and functions into plain functions, and [`items`] finds items with
//! tree-sitter's grammars.

mod branches;
mod items;
mod lexer;
mod macros;

pub(super) use lexer::{Lexed, lex, outermost};

use super::pieces::only_items_of;
use super::place::Item;
use crate::config::Tests;
use macros::Rewritten;
use std::ops::Range;

/// The items of the outermost items that have a tag. The offsets of tags are in `tagged`; without it, every item.
pub(super) fn items(
    text: &str,
    lexed: &Lexed,
    comments: &[Range<usize>],
    tagged: Option<&[usize]>,
    file: &CFile<'_>,
) -> Vec<Item> {
    let Rewritten { text, ends, named, mut items } = macros::rewrite(text, lexed, comments, &file.tests.macros);
    // With a bracket too many, items end elsewhere. Then the whole file is parsed.
    let tagged = tagged.filter(|_| lexed.pieces.is_balanced);
    let text = tagged.map_or_else(|| text.clone(), |tagged| only_items_of(&text, &ends, tagged));
    items.extend(items::collect(&text, &named, file));
    items
}

/// What is known about a file before it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct CFile<'f> {
    pub(super) is_cpp: bool,
    /// It has no code, only tests and their helpers.
    pub(super) only_tests: bool,
    pub(super) tests: &'f Tests,
}

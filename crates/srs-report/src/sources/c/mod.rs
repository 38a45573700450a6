//! C and C++: [`lexer`] separates comments from code, [`macros`] turns the macros that define tests and functions into
//! plain functions, and [`items`] finds items with tree-sitter's grammars.

mod items;
mod lexer;
mod macros;

pub(super) use lexer::{Lexed, lex};

use super::pieces::only_items_of;
use super::place::Item;
use crate::config::Tests;
use macros::Rewritten;

/// The items of the outermost items that have a tag. The offsets of tags are in `tagged`; without it, every item.
pub(super) fn items(text: &str, lexed: &Lexed, tagged: Option<&[usize]>, file: &CFile<'_>) -> Vec<Item> {
    let Rewritten { text, ends, named } = macros::rewrite(text, lexed, &file.tests.macros);
    // Branches of `#if` may open a bracket twice. Then the whole file is parsed.
    let tagged = tagged.filter(|_| lexed.pieces.is_balanced);
    let text = tagged.map_or_else(|| text.clone(), |tagged| only_items_of(&text, &ends, tagged));
    items::collect(&text, &named, file)
}

/// What is known about a file before it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct CFile<'f> {
    pub(super) is_cpp: bool,
    /// It has no code, only tests and their helpers.
    pub(super) only_tests: bool,
    pub(super) tests: &'f Tests,
}

//! Rust: [`comments`] separates comments from code, [`items`] finds items with `syn`, [`packages`] and [`modules`] know
//! where cargo and the modules put a file.

mod comments;
mod items;
mod modules;
mod packages;

pub(super) use comments::pieces;
pub(super) use modules::{ModuleTree, Scan};
pub(super) use packages::Packages;

pub(crate) use packages::Home;

use super::pieces::{Pieces, only_items_of};
use super::place::Item;
use crate::config::Tests;
use proc_macro2::TokenStream;
use std::fmt;

/// The nesting up to which a file is parsed. The parser is recursive, and its thread's stack holds more than this.
const DEEPEST: usize = 4_000;
/// The number of tokens of an expression up to which a file is parsed.
const LONGEST: usize = 200_000;

/// A fault of a file: the line, and what is wrong.
pub(super) type Fault = (usize, String);

/// The items of the outermost items that have a tag. The offsets of tags are in `tagged`; without it, every item.
pub(super) fn items(text: &str, pieces: &Pieces, tagged: Option<&[usize]>, tests: &Tests) -> Result<Vec<Item>, Fault> {
    if pieces.depth > DEEPEST {
        return Err((1, format!("brackets are nested deeper than {DEEPEST} times")));
    }
    if pieces.longest > LONGEST {
        return Err((1, format!("an expression has more than {LONGEST} tokens")));
    }
    // If the shortened file does not parse, it may have been cut wrongly, so the whole file decides.
    let shortened = tagged.map(|tagged| only_items_of(text, &pieces.ends, tagged));
    let parsed = shortened.and_then(|text| parse(&text).ok()).map_or_else(|| parse(text), Ok);
    let items = parsed.map(|file| items::collect(&file, tests));
    // The parser remembers the file for its spans, which would slow down the next file.
    proc_macro2::extra::invalidate_current_thread_spans();
    items
}

fn parse(text: &str) -> Result<syn::File, Fault> {
    let not_rust = |line: usize, error: &dyn fmt::Display| (line, format!("not Rust: {error}"));
    let tokens: TokenStream =
        text.parse().map_err(|error: proc_macro2::LexError| not_rust(error.span().start().line, &error))?;
    syn::parse2(tokens).map_err(|error| not_rust(error.span().start().line, &error))
}

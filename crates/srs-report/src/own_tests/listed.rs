//! The changes that cargo-mutants proposes, those of `unsafe` functions included.
//!
//! cargo-mutants leaves `unsafe` functions alone, because a change may break what their callers promise. Here a change runs
//! only in a test binary that is thrown away. So cargo-mutants gets a copy in which the word is blank, and all places stay.

use super::scratch::Scratch;
use crate::mutants::{Change, list};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use syn::Signature;
use syn::visit::{self, Visit};

/// The replacement that cargo-mutants proposes for a result whose type it does not know.
const DEFAULT: &str = "Default::default()";

/// In `unsafe` functions that result is often a handle, under a name of its own.
const NULL: &str = "core::ptr::null_mut()";

/// All changes to the files. The copy is made in `folder`.
pub(super) fn changes(
    root: &Path,
    folder: &Path,
    tagged: &BTreeMap<&str, Vec<RangeInclusive<usize>>>,
) -> anyhow::Result<Vec<Change>> {
    let (mut safe, mut bodies) = (BTreeMap::new(), BTreeMap::new());
    for path in tagged.keys() {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        let found = unsafe_functions(&text).with_context(|| format!("{path} is not Rust"))?;
        if !found.is_empty() {
            safe.insert((*path).to_owned(), blanked(&text, &found));
            bodies.insert((*path).to_owned(), found);
        }
    }
    if safe.is_empty() {
        return list(root, tagged);
    }
    let copy = Scratch::of(root, folder, &safe)?;
    let mut all = list(&copy.tree, tagged)?;
    let is_unsafe = |change: &Change| {
        let lines = bodies.get(&change.file).into_iter().flatten().map(|function| &function.lines);
        lines.clone().any(|lines| lines.contains(&change.span.start.line))
    };
    let nulls: Vec<Change> = all.iter().filter(|it| it.replacement == DEFAULT && is_unsafe(it)).map(null).collect();
    all.extend(nulls);
    Ok(all)
}

fn null(change: &Change) -> Change {
    let Change { name, file, span, .. } = change;
    Change { name: name.replace(DEFAULT, NULL), file: file.clone(), span: span.clone(), replacement: NULL.to_owned() }
}

/// A function that is `unsafe`.
struct Function {
    /// The word, as byte offsets.
    word: Range<usize>,
    lines: RangeInclusive<usize>,
}

fn unsafe_functions(text: &str) -> syn::Result<Vec<Function>> {
    let tokens: proc_macro2::TokenStream = text.parse()?;
    let mut finder = Finder::default();
    finder.visit_file(&syn::parse2(tokens)?);
    proc_macro2::extra::invalidate_current_thread_spans();
    Ok(finder.found)
}

/// The text without the words, and as long.
fn blanked(text: &str, functions: &[Function]) -> String {
    let mut text = text.to_owned();
    for Function { word, .. } in functions {
        text.replace_range(word.clone(), &" ".repeat(word.len()));
    }
    text
}

#[derive(Default)]
struct Finder {
    found: Vec<Function>,
}

impl Finder {
    fn add(&mut self, signature: &Signature, block: &syn::Block) {
        if let Some(word) = &signature.unsafety {
            let lines = word.span.start().line..=block.brace_token.span.close().end().line;
            self.found.push(Function { word: word.span.byte_range(), lines });
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_of_functions_is_blank() {
        let text = "unsafe extern \"C\" fn f() -> u8 {\n    unsafe { 1 }\n}\nfn g() {}\nimpl A { unsafe fn h() {} }\n";
        let found = unsafe_functions(text).expect("Rust");
        let safe = blanked(text, &found);
        assert_eq!(safe.len(), text.len());
        assert_eq!(
            safe,
            "       extern \"C\" fn f() -> u8 {\n    unsafe { 1 }\n}\nfn g() {}\nimpl A {        fn h() {} }\n"
        );
        assert_eq!(found.iter().map(|it| it.lines.clone()).collect::<Vec<_>>(), [1..=3, 5..=5]);
    }
}

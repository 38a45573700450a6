//! Finds the items of a Rust file that a tag can be attached to, and separates tests from code.
//!
//! `syn` does not parse the tokens inside a macro (`proptest! { … }`). So this file finds functions there by their
//! shape alone: attributes, `fn`, a name, a body.

use crate::config::Tests;
use crate::sources::place::Item;
use fast_glob::glob_match;
use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use std::mem;
use syn::visit::{self, Visit};
use syn::{AttrStyle, Attribute, Meta};

/// Every item of the file, nested ones included.
pub(super) fn collect(file: &syn::File, tests: &Tests) -> Vec<Item> {
    let in_test_code = file.attrs.iter().any(|attribute| is_for_tests_only(&attribute.meta));
    let mut collector = Collector { tests, items: Vec::new(), scope: Vec::new(), modules: Vec::new(), in_test_code };
    collector.visit_file(file);
    collector.items
}

struct Collector<'t> {
    tests: &'t Tests,
    items: Vec<Item>,
    /// The names of the items around.
    scope: Vec<String>,
    /// Those of them that are modules.
    modules: Vec<String>,
    in_test_code: bool,
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let Some(name) = name_of(item) else { return visit::visit_item(self, item) };
        let gathers = matches!(item, syn::Item::Mod(_) | syn::Item::Impl(_) | syn::Item::Trait(_));
        let index = self.items.len();
        let is_module = matches!(item, syn::Item::Mod(_));
        let scope = is_module.then(|| name.clone());
        let walk = |inside: &mut Self| {
            inside.modules.extend(scope);
            visit::visit_item(inside, item);
            if is_module {
                inside.modules.pop();
            }
        };
        match head_and_end(item) {
            Some((attributes, head, end)) => self.enter_block(name, attributes, head, end, !gathers, walk),
            None => self.enter(name, item.to_token_stream(), !gathers, walk),
        }
        if matches!(item, syn::Item::Macro(_)) {
            let (outer, inner) = self.items[index..].split_at_mut(1);
            let tests: Vec<&Item> = inner.iter().filter(|item| item.is_test).collect();
            let makes_tests = tests.is_empty() && is_named(&outer[0].name, &self.tests.macros);
            outer[0].is_test = makes_tests || !tests.is_empty();
            outer[0].is_test_code |= outer[0].is_test;
            if makes_tests {
                // Only the macro knows the names of its tests.
                outer[0].is_parametrised = true;
            } else {
                outer[0].test_names = tests.into_iter().flat_map(|item| item.test_names.clone()).collect();
            }
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let (vis, defaultness, sig) = (&item.vis, &item.defaultness, &item.sig);
        let (head, end) = (quote!(#vis #defaultness #sig), item.block.brace_token.span.close());
        let walk = |inside: &mut Self| visit::visit_impl_item_fn(inside, item);
        self.enter_block(item.sig.ident.to_string(), &item.attrs, head, end, true, walk);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let name = match item {
            syn::ImplItem::Const(item) => item.ident.to_string(),
            syn::ImplItem::Type(item) => item.ident.to_string(),
            syn::ImplItem::Macro(item) => macro_name(&item.mac),
            _ => return visit::visit_impl_item(self, item),
        };
        self.enter(name, item.to_token_stream(), true, |inside| visit::visit_impl_item(inside, item));
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        let name = match item {
            syn::TraitItem::Const(item) => item.ident.to_string(),
            syn::TraitItem::Fn(item) => item.sig.ident.to_string(),
            syn::TraitItem::Type(item) => item.ident.to_string(),
            syn::TraitItem::Macro(item) => macro_name(&item.mac),
            _ => return visit::visit_trait_item(self, item),
        };
        self.enter(name, item.to_token_stream(), true, |inside| visit::visit_trait_item(inside, item));
    }

    fn visit_foreign_item(&mut self, item: &'ast syn::ForeignItem) {
        let name = match item {
            syn::ForeignItem::Fn(item) => item.sig.ident.to_string(),
            syn::ForeignItem::Static(item) => item.ident.to_string(),
            syn::ForeignItem::Type(item) => item.ident.to_string(),
            syn::ForeignItem::Macro(item) => macro_name(&item.mac),
            _ => return visit::visit_foreign_item(self, item),
        };
        self.enter(name, item.to_token_stream(), true, |inside| visit::visit_foreign_item(inside, item));
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        let name = variant.ident.to_string();
        self.enter(name, variant.to_token_stream(), true, |inside| visit::visit_variant(inside, variant));
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        let Some(name) = &field.ident else { return visit::visit_field(self, field) };
        self.enter(name.to_string(), field.to_token_stream(), true, |inside| visit::visit_field(inside, field));
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.functions(mac.tokens.clone());
    }
}

impl Collector<'_> {
    fn enter(&mut self, name: String, tokens: TokenStream, owns_body: bool, walk: impl FnOnce(&mut Self)) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let attributes = attributes(&trees);
        let (Some(first), Some(head), Some(last)) = (trees.first(), trees.get(2 * attributes.len()), trees.last())
        else {
            return;
        };
        let (start, head) = (first.span().byte_range().start, head.span().byte_range().start);
        let end = last.span().byte_range().end;
        self.push(name, &metas(&attributes), [start, head, end], owns_body, walk);
    }

    /// Enters an item that ends in a block. Most of a file is in blocks, and making tokens of them again takes time.
    fn enter_block(
        &mut self,
        name: String,
        attributes: &[Attribute],
        head: TokenStream,
        end: Span,
        owns_body: bool,
        walk: impl FnOnce(&mut Self),
    ) {
        let outer = || attributes.iter().filter(|attribute| matches!(attribute.style, AttrStyle::Outer));
        let Some(head) = head.into_iter().next().map(|first| first.span().byte_range().start) else { return };
        let start = outer().next().map_or(head, |first| first.pound_token.span.byte_range().start);
        let metas: Vec<Meta> = outer().map(|attribute| attribute.meta.clone()).collect();
        self.push(name, &metas, [start, head, end.byte_range().end], owns_body, walk);
    }

    fn push(
        &mut self,
        name: String,
        metas: &[Meta],
        [start, head, end]: [usize; 3],
        owns_body: bool,
        walk: impl FnOnce(&mut Self),
    ) {
        let is_test = metas.iter().any(|meta| makes_test(meta, &self.tests.attributes));
        let is_test_code = self.in_test_code || is_test || metas.iter().any(is_for_tests_only);
        let cases = metas.iter().filter(|meta| is_case(meta)).count().max(1);
        let is_parametrised = metas.iter().any(is_parametrised);
        let test_names = vec![self.modules.iter().chain([&name]).cloned().collect::<Vec<_>>().join("::")];
        self.scope.push(name);
        let name = self.scope.join("::");
        let item =
            Item { name, test_names, is_test, is_parametrised, cases, is_test_code, start, head, end, owns_body };
        self.items.push(item);
        let around = mem::replace(&mut self.in_test_code, is_test_code);
        walk(self);
        self.in_test_code = around;
        self.scope.pop();
    }

    /// Finds functions in a macro's tokens, at any depth.
    fn functions(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = trees.as_slice();
        while let Some(first) = rest.first() {
            let attributes = attributes(rest);
            let item = &rest[2 * attributes.len()..];
            if let Some(function) = Function::parse(item) {
                let [start, head] = [first, &item[0]].map(|tree| tree.span().byte_range().start);
                let end = function.body.span_close().byte_range().end;
                let body = function.body.stream();
                self.push(function.name, &metas(&attributes), [start, head, end], true, |inside| {
                    inside.functions(body);
                });
                rest = &item[function.len..];
                continue;
            }
            if let TokenTree::Group(group) = first {
                self.functions(group.stream());
            }
            rest = &rest[1..];
        }
    }
}

/// Splits a function, a module, an `impl` or a trait with a body: its attributes, its tokens up to the body or some of
/// them, and the body's end.
fn head_and_end(item: &syn::Item) -> Option<(&[Attribute], TokenStream, Span)> {
    match item {
        syn::Item::Fn(syn::ItemFn { attrs, vis, sig, block }) => {
            Some((attrs, quote!(#vis #sig), block.brace_token.span.close()))
        }
        syn::Item::Mod(syn::ItemMod { attrs, vis, unsafety, mod_token, content: Some((braces, _)), .. }) => {
            Some((attrs, quote!(#vis #unsafety #mod_token), braces.span.close()))
        }
        syn::Item::Impl(syn::ItemImpl { attrs, defaultness, unsafety, impl_token, brace_token, .. }) => {
            Some((attrs, quote!(#defaultness #unsafety #impl_token), brace_token.span.close()))
        }
        _ => None,
    }
}

fn metas(attributes: &[Group]) -> Vec<Meta> {
    attributes.iter().filter_map(|group| syn::parse2(group.stream()).ok()).collect()
}

/// The outer attributes at the start of `trees`: each is a `#` and a `[…]`.
fn attributes(trees: &[TokenTree]) -> Vec<Group> {
    let attribute = |pair: &[TokenTree]| match pair {
        [TokenTree::Punct(hash), TokenTree::Group(group)] if hash.as_char() == '#' => Some(group.clone()),
        _ => None,
    };
    trees.chunks(2).map_while(attribute).collect()
}

/// A function in a macro's tokens.
struct Function {
    name: String,
    body: Group,
    /// The number of its trees, including the body.
    len: usize,
}

impl Function {
    fn parse(trees: &[TokenTree]) -> Option<Self> {
        let keyword = trees.iter().take_while(|tree| is_qualifier(tree)).count();
        if !is_ident(trees.get(keyword)?, "fn") {
            return None;
        }
        let after = &trees[keyword + 1..];
        let name = match after {
            [TokenTree::Ident(name), ..] => name.to_string(),
            // In a `macro_rules!` the name may be a variable.
            [TokenTree::Punct(dollar), TokenTree::Ident(name), ..] if dollar.as_char() == '$' => format!("${name}"),
            _ => return None,
        };
        let is_end = |tree: &TokenTree| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == ';');
        let is_body =
            |tree: &TokenTree| matches!(tree, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        let body = after.iter().position(|tree| is_end(tree) || is_body(tree))?;
        match &after[body] {
            TokenTree::Group(group) => Some(Self { name, body: group.clone(), len: keyword + 2 + body }),
            _ => None,
        }
    }
}

/// Whether the tree may stand before `fn`: `pub(crate) const async unsafe extern "C"`.
fn is_qualifier(tree: &TokenTree) -> bool {
    match tree {
        TokenTree::Ident(word) => ["pub", "default", "const", "async", "unsafe", "extern"].iter().any(|it| word == it),
        TokenTree::Group(group) => group.delimiter() == Delimiter::Parenthesis,
        TokenTree::Literal(_) => true,
        TokenTree::Punct(_) => false,
    }
}

fn is_ident(tree: &TokenTree, word: &str) -> bool {
    matches!(tree, TokenTree::Ident(ident) if ident == word)
}

/// The last names of attributes that make a test of a function, `#[tokio::test]` for example.
const TESTS: [&str; 8] =
    ["test", "rstest", "test_case", "test_matrix", "quickcheck", "property_test", "gtest", "wasm_bindgen_test"];

/// Whether the attribute makes a function a test: `#[test]`, `#[tokio::test]`, `#[rstest]`, `#[cfg_attr(…, test)]`, or
/// one that the project names.
fn makes_test(meta: &Meta, named: &[String]) -> bool {
    if meta.path().is_ident("cfg_attr") {
        let Meta::List(list) = meta else { return false };
        let metas = syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated;
        let parts = syn::parse::Parser::parse2(metas, list.tokens.clone()).unwrap_or_default();
        return parts.iter().skip(1).any(|meta| makes_test(meta, named));
    }
    let segments: Vec<String> = meta.path().segments.iter().map(|segment| segment.ident.to_string()).collect();
    let last = segments.last().map_or("", String::as_str);
    TESTS.contains(&last) || is_named(&segments.join("::"), named) || is_named(last, named)
}

/// Whether one of the patterns names it; a `*` is any text.
fn is_named(name: &str, patterns: &[String]) -> bool {
    let name = name.trim_end_matches('!');
    patterns.iter().any(|pattern| glob_match(pattern.trim_end_matches('!'), name))
}

/// Whether the attribute multiplies a test: `#[rstest]`, `#[test_case(…)]`.
fn is_parametrised(meta: &Meta) -> bool {
    meta.path()
        .segments
        .last()
        .is_some_and(|last| ["rstest", "test_case", "test_matrix", "apply"].iter().any(|it| last.ident == it))
}

/// Whether the attribute is one case of a parametrised test: `#[case(…)]`, `#[case::name(…)]`, `#[test_case(…)]`.
fn is_case(meta: &Meta) -> bool {
    meta.path().segments.first().is_some_and(|first| ["case", "test_case"].iter().any(|it| first.ident == it))
}

/// Whether the attribute is `#[cfg(test)]`, alone or with other conditions.
fn is_for_tests_only(meta: &Meta) -> bool {
    let Meta::List(list) = meta else { return false };
    let holds = |word| list.tokens.clone().into_iter().any(|tree| contains(tree, word));
    list.path.is_ident("cfg") && holds("test") && !holds("not") && !holds("any")
}

fn contains(tree: TokenTree, word: &str) -> bool {
    match tree {
        TokenTree::Group(group) => group.stream().into_iter().any(|tree| contains(tree, word)),
        leaf => is_ident(&leaf, word),
    }
}

/// The name of an item; `None` for an item without a name, such as `use`.
fn name_of(item: &syn::Item) -> Option<String> {
    Some(match item {
        syn::Item::Const(item) => item.ident.to_string(),
        syn::Item::Enum(item) => item.ident.to_string(),
        syn::Item::Fn(item) => item.sig.ident.to_string(),
        syn::Item::Impl(item) => type_name(&item.self_ty),
        syn::Item::Macro(item) => item.ident.as_ref().map_or_else(|| macro_name(&item.mac), ToString::to_string),
        syn::Item::Mod(item) => item.ident.to_string(),
        syn::Item::Static(item) => item.ident.to_string(),
        syn::Item::Struct(item) => item.ident.to_string(),
        syn::Item::Trait(item) => item.ident.to_string(),
        syn::Item::TraitAlias(item) => item.ident.to_string(),
        syn::Item::Type(item) => item.ident.to_string(),
        syn::Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// `AsyncSocketLinux` of `AsyncSocketLinux<P, S>`.
fn type_name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path.path.segments.last().map_or_else(String::new, |last| last.ident.to_string()),
        other => other.to_token_stream().to_string(),
    }
}

fn macro_name(mac: &syn::Macro) -> String {
    mac.path.segments.last().map_or_else(String::new, |last| format!("{}!", last.ident))
}

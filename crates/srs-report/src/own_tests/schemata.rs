//! Compiles many mutants of a file into one program.
//!
//! The body of a function becomes a `match` on the number of the active mutant. Each mutant has an arm, and so has the
//! unchanged body. So all mutants of a workspace take one build, and an environment variable chooses among them.

use super::bodies::bodies;
use proc_macro2::Span;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use syn::visit::Visit;
use syn::{Block, ReturnType, Signature};

/// The environment variable that holds the number of the active mutant.
pub(super) const VARIABLE: &str = "SRS_REPORT_MUTANT";

/// The call that ends the process.
pub(super) const END: &str = "crate::srs_report_mutant::end();";

/// The module that every mutated crate gets. `active` returns the number of the active mutant, or 0 if there is none.
///
/// It allocates nothing and takes no lock, because mutants also run after memory has run out and in children of `fork`.
/// It does not need `std`, because a crate may lack it.
pub(super) const MODULE: &str = r#"
#[allow(unsafe_code, missing_docs, clippy::all)]
pub(crate) mod srs_report_mutant {
    use core::sync::atomic::{AtomicU32, Ordering};
    unsafe extern "C" { fn getenv(name: *const u8) -> *const u8; fn abort() -> !; }
    #[allow(dead_code)]
    pub(crate) fn end() -> ! { unsafe { abort() } }
    static ACTIVE: AtomicU32 = AtomicU32::new(u32::MAX);
    pub(crate) fn active() -> u32 {
        let known = ACTIVE.load(Ordering::Relaxed);
        if known != u32::MAX { return known; }
        let mut number = 0_u32;
        unsafe {
            let mut text = getenv(b"SRS_REPORT_MUTANT\0".as_ptr());
            while !text.is_null() && (*text).is_ascii_digit() {
                number = number * 10 + (*text - b'0') as u32;
                text = text.add(1);
            }
        }
        ACTIVE.store(number, Ordering::Relaxed);
        number
    }
}
"#;

/// One change to a file: the bytes in `range` become `replacement`.
#[derive(Debug, Clone)]
pub(super) struct Mutation {
    pub(super) number: usize,
    pub(super) range: Range<usize>,
    pub(super) replacement: String,
}

/// A file with its mutants.
#[derive(Debug, Default)]
pub(super) struct Instrumented {
    pub(super) text: String,
    /// The lines of each mutant's body in `text`.
    pub(super) arms: Vec<(RangeInclusive<usize>, usize)>,
    /// The lines of each instrumented function, and its mutants.
    pub(super) functions: Vec<(RangeInclusive<usize>, Vec<usize>)>,
    /// The mutants that need a build of their own.
    pub(super) alone: Vec<usize>,
}

/// Puts every mutation that can share a build with the others into the text.
pub(super) fn instrument(text: &str, mutations: &[Mutation]) -> syn::Result<Instrumented> {
    let tokens: proc_macro2::TokenStream = text.parse()?;
    let file = syn::parse2(tokens)?;
    let bodies: Vec<Body> = bodies(&file).into_iter().map(|(signature, block)| Body::new(signature, block)).collect();
    proc_macro2::extra::invalidate_current_thread_spans();

    let mut done = Instrumented::default();
    let mut by_body: BTreeMap<(usize, usize), Vec<&Mutation>> = BTreeMap::new();
    for mutation in mutations {
        let holds = |body: &&Body| body.inner.start <= mutation.range.start && mutation.range.end <= body.inner.end;
        // The innermost of the functions around.
        let body = bodies.iter().filter(holds).max_by_key(|body| body.inner.start);
        match body.filter(|body| body.can_be_repeated) {
            Some(body) => by_body.entry((body.inner.start, body.inner.end)).or_default().push(mutation),
            None => done.alone.push(mutation.number),
        }
    }
    let mut at = 0;
    for ((start, end), mutations) in by_body {
        done.push(&text[at..start]);
        let first = done.line();
        done.push(" match crate::srs_report_mutant::active() {\n");
        for mutation in &mutations {
            done.push(&format!("{} => {{\n", mutation.number));
            let begins = done.line();
            done.push(&text[start..mutation.range.start]);
            done.push(&mutation.replacement);
            done.push(&text[mutation.range.end..end]);
            done.arms.push((begins..=done.line(), mutation.number));
            done.push("\n}\n");
        }
        done.push("_ => {\n");
        done.push(&text[start..end]);
        done.push("\n} } ");
        done.functions.push((first..=done.line(), mutations.iter().map(|it| it.number).collect()));
        at = end;
    }
    done.push(&text[at..]);
    Ok(done)
}

/// The text with one mutation.
pub(super) fn apply(text: &str, mutation: &Mutation) -> String {
    let Mutation { range, replacement, .. } = mutation;
    format!("{}{replacement}{}", &text[..range.start], &text[range.end..])
}

impl Instrumented {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn line(&self) -> usize {
        self.text.bytes().filter(|byte| *byte == b'\n').count() + 1
    }
}

/// The body of a function: the text between its braces.
struct Body {
    inner: Range<usize>,
    can_be_repeated: bool,
}

impl Body {
    fn new(signature: &Signature, block: &Block) -> Self {
        let offset = |span: Span| span.byte_range();
        let inner = offset(block.brace_token.span.open()).end..offset(block.brace_token.span.close()).start;
        let mut items = Items::default();
        items.visit_block(block);
        if let ReturnType::Type(_, result) = &signature.output {
            items.visit_type(result);
        }
        // A constant function cannot ask for the active mutant. The arms of a `match` have one type, so two closures
        // cannot be an `impl Fn`. A static variable in the body would exist once per mutant.
        let can_be_repeated = signature.constness.is_none() && signature.asyncness.is_none() && !items.found;
        Self { inner, can_be_repeated }
    }
}

#[derive(Default)]
struct Items {
    found: bool,
}

impl<'ast> Visit<'ast> for Items {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.found |= !matches!(item, syn::Item::Use(_) | syn::Item::Const(_));
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.found |= mac.path.segments.last().is_some_and(|last| last.ident == "thread_local");
    }

    fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
        self.found = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutation(text: &str, number: usize, what: &str, replacement: &str) -> Mutation {
        let start = text.find(what).expect("the text to change");
        Mutation { number, range: start..start + what.len(), replacement: replacement.to_owned() }
    }

    #[test]
    fn a_body_becomes_a_choice_among_its_mutants() {
        let text = "fn f(a: u8) -> bool {\n    a == 1\n}\nfn g() {}\n";
        let mutations = [mutation(text, 7, "==", "!="), mutation(text, 8, "a == 1", "true")];
        let done = instrument(text, &mutations).expect("Rust");
        let lines: Vec<&str> = done.text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let expected = [
            "fn f(a: u8) -> bool { match crate::srs_report_mutant::active() {",
            "7 => {",
            "a != 1",
            "}",
            "8 => {",
            "true",
            "}",
            "_ => {",
            "a == 1",
            "} } }",
            "fn g() {}",
        ];
        assert_eq!(lines, expected);
        let all: Vec<&str> = done.text.lines().collect();
        for (lines, number) in &done.arms {
            let arm = all[lines.start() - 1..*lines.end()].concat();
            assert!(arm.contains(if *number == 7 { "a != 1" } else { "true" }) && !arm.contains("=>"), "{arm}");
        }
        assert_eq!(done.functions.iter().map(|(_, numbers)| numbers.clone()).collect::<Vec<_>>(), [[7, 8]]);
        assert_eq!(done.alone, [0; 0]);
    }

    #[test]
    fn what_cannot_be_repeated_gets_a_build_of_its_own() {
        for text in [
            "const fn f() -> u8 { 1 + 2 }",
            "fn f() -> impl Fn() { move || { 1 + 2; } }",
            "fn f() { static A: u8 = 0; 1 + 2; }",
            "const A: u8 = 1 + 2;",
        ] {
            let done = instrument(text, &[mutation(text, 1, "+", "-")]).expect("Rust");
            assert_eq!((done.alone, done.text.as_str()), (vec![1], text));
        }
    }

    #[test]
    fn the_module_reads_the_variable() {
        assert!(MODULE.contains(&format!("b\"{VARIABLE}\\0\"")));
        assert!(END.starts_with("crate::srs_report_mutant::end(") && MODULE.contains("mod srs_report_mutant"));
    }
}

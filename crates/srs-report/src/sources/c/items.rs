//! Finds the items of a C or C++ file that a tag can be attached to.
//!
//! An item is anything with a name outside of function bodies: a function, a macro, a declaration, a type, a member.
//! Where the parser loses its way, it goes on, so a file has items around any error.

use super::CFile;
use super::macros::Named;
use crate::sources::place::Item;
use std::collections::HashMap;
use tree_sitter::{Node, Parser};

/// Every item, in the order of the file.
pub(super) fn collect(text: &str, named: &HashMap<usize, Named>, file: &CFile<'_>) -> Vec<Item> {
    let mut parser = Parser::new();
    let language = if file.is_cpp { tree_sitter_cpp::LANGUAGE } else { tree_sitter_c::LANGUAGE };
    let parsed = parser.set_language(&language.into()).ok().and_then(|()| parser.parse(text, None));
    let mut collector = Collector { text, named, file, items: Vec::new() };
    if let Some(tree) = parsed {
        collector.children(tree.root_node(), "");
    }
    collector.items
}

struct Collector<'c> {
    text: &'c str,
    named: &'c HashMap<usize, Named>,
    file: &'c CFile<'c>,
    items: Vec<Item>,
}

impl Collector<'_> {
    fn children(&mut self, node: Node<'_>, scope: &str) {
        let mut cursor = node.walk();
        for child in node.named_children(&mut cursor) {
            self.node(child, scope);
        }
    }

    fn node(&mut self, node: Node<'_>, scope: &str) {
        match node.kind() {
            "comment" | "access_specifier" => {}
            // Nodes that only group items.
            "preproc_if"
            | "preproc_ifdef"
            | "preproc_else"
            | "preproc_elif"
            | "preproc_elifdef"
            | "linkage_specification"
            | "declaration_list"
            | "ERROR" => self.children(node, scope),
            "namespace_definition" => {
                let inside = joined(scope, field(node, "name").map_or("", |name| &self.text[name.byte_range()]));
                if let Some(body) = field(node, "body") {
                    self.children(body, &inside);
                }
            }
            _ => self.item(node, scope),
        }
    }

    fn item(&mut self, node: Node<'_>, scope: &str) {
        let start = node.start_byte();
        let defined = self.named.get(&start);
        let own = defined.map_or_else(|| self.name_of(node), |it| it.name.clone());
        let name = joined(scope, &own);
        let is_function = node.kind() == "function_definition";
        let is_by_pattern = || is_function && self.file.only_tests && self.file.tests.functions.is_match(&own);
        let is_test = defined.map_or_else(is_by_pattern, |it| it.is_test);
        let suite = defined.and_then(|it| it.suite.as_ref());
        let test_name = suite.map_or_else(|| own.clone(), |suite| format!("{suite}.{own}"));
        self.items.push(Item {
            name: name.clone(),
            test_names: vec![test_name],
            is_test,
            is_parametrised: defined.is_some_and(|it| it.is_parametrised),
            cases: defined.map_or(1, |it| it.cases),
            is_test_code: is_test,
            start,
            head: start,
            end: node.end_byte(),
            owns_body: true,
        });
        if let Some(body) = members(node) {
            self.children(body, &name);
        }
    }

    /// The name that an item declares, or its first word.
    fn name_of(&self, node: Node<'_>) -> String {
        let mut at = node;
        loop {
            if at.kind() == "qualified_identifier" {
                break;
            }
            let inner = field(at, "declarator").or_else(|| field(at, "name")).or_else(|| inside(at));
            match inner {
                Some(inner) => at = inner,
                None => break,
            }
        }
        let text = &self.text[at.byte_range()];
        let is_name = at.id() != node.id() && at.named_child_count() <= 2;
        if is_name { text.trim().to_owned() } else { first_word(text).to_owned() }
    }
}

/// The item that a template wraps, or the type that a declaration without a name wraps.
fn inside(node: Node<'_>) -> Option<Node<'_>> {
    match node.kind() {
        "template_declaration" => node.named_child(u32::try_from(node.named_child_count()).ok()?.checked_sub(1)?),
        "parenthesized_declarator" | "attributed_declarator" | "reference_declarator" => node.named_child(0),
        "declaration" | "field_declaration" | "type_definition" => {
            field(node, "type").filter(|it| it.child_by_field_name("name").is_some())
        }
        "expression_statement" => node.named_child(0).and_then(|call| field(call, "function")),
        _ => None,
    }
}

/// The body of a type.
fn members(node: Node<'_>) -> Option<Node<'_>> {
    let kind = match node.kind() {
        "template_declaration" => node.named_child(u32::try_from(node.named_child_count()).ok()?.checked_sub(1)?)?,
        "declaration" | "type_definition" | "field_declaration" => field(node, "type")?,
        _ => node,
    };
    let is_type = matches!(kind.kind(), "struct_specifier" | "union_specifier" | "class_specifier" | "enum_specifier");
    if is_type { field(kind, "body") } else { None }
}

fn field<'n>(node: Node<'n>, name: &str) -> Option<Node<'n>> {
    node.child_by_field_name(name)
}

fn joined(scope: &str, name: &str) -> String {
    if scope.is_empty() || name.is_empty() { format!("{scope}{name}") } else { format!("{scope}::{name}") }
}

fn first_word(text: &str) -> &str {
    let is_part = |it: char| it == '_' || it == '#' || it.is_alphanumeric();
    let text = text.trim_start();
    let end = text.find(|it| !is_part(it)).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::super::{lexer, macros};
    use super::*;
    use crate::config::Tests;

    fn names(source: &str, is_cpp: bool) -> Vec<String> {
        let functions = regex::Regex::new("^test_").expect("a pattern");
        let tests = Tests { macros: vec!["MY_*".to_owned()], attributes: Vec::new(), functions };
        let lexed = lexer::lex(source);
        let rewritten = macros::rewrite(source, &lexed, &[], &tests.macros);
        let file = CFile { is_cpp, only_tests: true, tests: &tests };
        let mut items = rewritten.items;
        items.extend(collect(&rewritten.text, &rewritten.named, &file));
        items.sort_by_key(|item| item.start);
        items.into_iter().map(|item| format!("{}{}", item.name, if item.is_test { "!" } else { "" })).collect()
    }

    #[test]
    fn everything_with_a_name_is_an_item() {
        let source = "#include <a>\n#define B(x) x\nstatic const int c[] = { 1 };\nint *d(void) { return 0; }\n\
                      struct E { int f; };\ntypedef struct G_TAG* G;\nenum H { I };\nextern int j(int k);\n";
        assert_eq!(names(source, false), ["#include", "B", "c", "d", "E", "E::f", "G", "H", "H::I", "j"]);
    }

    #[test]
    fn tests_are_functions_of_known_macros_and_names() {
        let source = "BEGIN_TEST_SUITE(a)\nTEST_FUNCTION(b) { }\nstatic void test_c(void) { }\nvoid d(void) { }\n\
                      MY_TEST(e) { }\nSTART_TEST(f) { }\nEND_TEST\nSTART_TEST(g) { }\nEND_TEST\n";
        assert_eq!(names(source, false), ["BEGIN_TEST_SUITE", "b!", "test_c!", "d", "e!", "f!", "g!"]);
    }

    #[test]
    fn cpp_has_scopes() {
        let source = "namespace a { class B { public: void c() { } int d; }; TEST_F(E, f) { } }\n\
                      template <typename T> T g(T h) { return h; }\nvoid B::c() { }\n";
        assert_eq!(names(source, true), ["a::B", "a::B::c", "a::B::d", "a::f!", "g", "B::c"]);
    }
}

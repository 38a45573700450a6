//! The functions with a body.

use syn::visit::{self, Visit};
use syn::{Block, Signature};

/// All functions of the file that have a body: free ones, methods and the defaults of traits, nested ones too.
pub(super) fn bodies(file: &syn::File) -> Vec<(&Signature, &Block)> {
    let mut bodies = Bodies::default();
    bodies.visit_file(file);
    bodies.0
}

#[derive(Default)]
struct Bodies<'ast>(Vec<(&'ast Signature, &'ast Block)>);

impl<'ast> Visit<'ast> for Bodies<'ast> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.0.push((&item.sig, &item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.0.push((&item.sig, &item.block));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.0.extend(item.default.iter().map(|block| (&item.sig, block)));
        visit::visit_trait_item_fn(self, item);
    }
}

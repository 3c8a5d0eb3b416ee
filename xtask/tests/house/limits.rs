//! What holds for every file of production code: its length, that of its
//! functions, and that it can't panic on purpose.

use std::path::Path;

use anyhow::{Context as _, Result};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::source::is_for_tests;

/// Longest file, in lines.
pub const FILE_LINES: usize = 400;
/// Longest function, in lines from its name to its end.
pub const FUNCTION_LINES: usize = 80;

/// What a file has of each.
#[derive(Debug, Default)]
pub struct Found {
    /// How many lines the file has.
    pub lines: usize,
    /// Functions that are too long, with their lines.
    pub long: Vec<(String, usize)>,
    /// Lines that panic on purpose: `unwrap`, `expect`, `panic!`, `unreachable!`,
    /// `todo!`, `unimplemented!`.
    pub panics: Vec<usize>,
}

/// Looks through a file.
pub fn look(file: &Path) -> Result<Found> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    look_at(&text).with_context(|| file.display().to_string())
}

/// Looks through a file's text.
pub fn look_at(text: &str) -> Result<Found> {
    let mut found = Found {
        lines: text.lines().count(),
        ..Found::default()
    };
    found.visit_file(&syn::parse_file(text)?);
    Ok(found)
}

impl Found {
    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let lines = body.span().end().line - signature.span().start().line + 1;
        if lines > FUNCTION_LINES {
            self.long.push((signature.ident.to_string(), lines));
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            self.function(&item.sig, &item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            self.function(&item.sig, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let arguments = match call.method.to_string().as_str() {
            "unwrap" | "unwrap_err" => Some(0),
            "expect" | "expect_err" => Some(1),
            _ => None,
        };
        if arguments == Some(call.args.len()) {
            self.panics.push(call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let name = called
            .path
            .segments
            .last()
            .map(|last| last.ident.to_string());
        let panics = ["panic", "unreachable", "todo", "unimplemented"];
        if name.is_some_and(|name| panics.contains(&name.as_str())) {
            self.panics.push(called.span().start().line);
        }
    }
}

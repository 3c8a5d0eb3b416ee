//! Reads a crate's modules: what each defines, imports and uses of the others.
//!
//! Files are parsed by `syn`, the parser that nearly every derive macro is made
//! with; only what macros are called with is read token by token. Code that is
//! compiled for tests alone is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::visit::{self, Visit};

/// A module's place in its crate: the names that lead to it; empty = the root.
pub type Place = Vec<String>;

/// A module.
#[derive(Debug, Default)]
pub struct Module {
    /// Where it is written.
    pub file: PathBuf,
    /// What it defines itself.
    defined: BTreeSet<String>,
    /// What it imports by name, public or not: descendants reach both.
    imports: BTreeMap<String, Place>,
    /// Of which modules it imports everything.
    globs: Vec<Place>,
    /// Paths into its own crate, and the lines where they are.
    paths: Vec<(Place, usize)>,
}

/// A module that uses another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    /// Who uses.
    pub from: Place,
    /// Who is used.
    pub to: Place,
    /// File and line.
    pub at: String,
}

/// The modules of a crate's target.
#[derive(Debug, Default)]
pub struct Crate {
    /// By place.
    pub modules: BTreeMap<Place, Module>,
}

impl Crate {
    /// Reads all modules from the root's file on.
    pub fn read(root: &Path) -> Result<Self> {
        let mut krate = Self::default();
        let folder = root.parent().context("a file has a folder")?;
        krate.read_file(root, folder, Vec::new())?;
        Ok(krate)
    }

    fn read_file(&mut self, file: &Path, children: &Path, place: Place) -> Result<()> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let parsed = syn::parse_file(&text).with_context(|| file.display().to_string())?;
        self.read_items(&parsed.items, file, children, place)
    }

    fn read_items(
        &mut self,
        items: &[syn::Item],
        file: &Path,
        children: &Path,
        place: Place,
    ) -> Result<()> {
        let kept = || items.iter().filter(|item| !is_for_tests(attributes(item)));
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        let mut inner = BTreeSet::new();
        for item in kept() {
            if let syn::Item::Mod(child) = item {
                inner.insert(child.ident.unraw().to_string());
            }
            module.defined.extend(name(item));
        }
        let mut reader = Reader {
            module,
            place: &place,
            inner: &inner,
        };
        for item in kept() {
            if !matches!(item, syn::Item::Mod(_)) {
                reader.visit_item(item);
            }
        }
        let module = reader.module;
        self.modules.insert(place.clone(), module);
        for item in kept() {
            let syn::Item::Mod(child) = item else {
                continue;
            };
            let name = child.ident.unraw().to_string();
            let below = [place.as_slice(), std::slice::from_ref(&name)].concat();
            if let Some((_, items)) = &child.content {
                self.read_items(items, file, &children.join(&name), below)?;
                continue;
            }
            let path = written_path(&child.attrs)?;
            let beside = file.parent().context("a file has a folder")?;
            let plain =
                path.map_or_else(|| children.join(format!("{name}.rs")), |p| beside.join(p));
            if plain.is_file() {
                self.read_file(&plain, &plain.with_extension(""), below)?;
            } else {
                let folder = children.join(&name);
                self.read_file(&folder.join("mod.rs"), &folder, below)?;
            }
        }
        Ok(())
    }

    /// Which module a path leads to: through imports, whoever defines its end.
    fn resolve(&self, path: &[String], depth: usize) -> Option<Place> {
        let mut place = Place::new();
        for (index, name) in path.iter().enumerate() {
            place.push(name.clone());
            if self.modules.contains_key(&place) {
                continue;
            }
            place.pop();
            let module = self.modules.get(&place)?;
            let rest = &path[index + 1..];
            // Imports in a circle are the compiler's to complain of.
            if module.defined.contains(name) || depth == 0 {
                return Some(place);
            }
            if let Some(target) = module.imports.get(name) {
                let target = [target.as_slice(), rest].concat();
                return self.resolve(&target, depth - 1);
            }
            let through = module.globs.iter().find_map(|glob| {
                let target = [glob.as_slice(), &path[index..]].concat();
                let end = self.resolve(&target, depth - 1)?;
                let defines = self.modules.get(&end)?.defined.contains(name);
                defines.then_some(end)
            });
            return Some(through.unwrap_or(place));
        }
        Some(place)
    }

    /// Each use of a module by another.
    pub fn arrows(&self) -> BTreeSet<Arrow> {
        const LONGEST_CHAIN_OF_IMPORTS: usize = 8;
        let mut arrows = BTreeSet::new();
        for (from, module) in &self.modules {
            for (path, line) in &module.paths {
                let Some(to) = self.resolve(path, LONGEST_CHAIN_OF_IMPORTS) else {
                    continue;
                };
                if to != *from {
                    arrows.insert(Arrow {
                        from: from.clone(),
                        to,
                        at: format!("{}:{line}", module.file.display()),
                    });
                }
            }
        }
        arrows
    }
}

/// Gathers what one module imports and uses.
struct Reader<'a> {
    module: Module,
    place: &'a Place,
    /// Names of the modules in it.
    inner: &'a BTreeSet<String>,
}

impl Reader<'_> {
    /// A path from the crate's root; `None` if it leads elsewhere.
    fn absolute(&self, path: &[String]) -> Option<Place> {
        let mut place = self.place.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" | "$crate" => place.clear(),
            "self" | "super" => {
                while let Some(first) = rest.first() {
                    match first.as_str() {
                        "super" => place.pop().map(drop)?,
                        "self" => {}
                        _ => break,
                    }
                    rest = &rest[1..];
                }
                return Some([place.as_slice(), rest].concat());
            }
            name if self.inner.contains(name) => return Some([place.as_slice(), rest].concat()),
            _ => return None,
        }
        Some([place.as_slice(), &rest[1..]].concat())
    }

    fn used(&mut self, path: &[String], line: usize) {
        if path.len() > 1
            && let Some(path) = self.absolute(path)
        {
            self.module.paths.push((path, line));
        }
    }

    fn imported(&mut self, tree: &syn::UseTree, before: &[String]) {
        let longer = |name: &syn::Ident| [before, &[name.unraw().to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.imported(&path.tree, &longer(&path.ident)),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.imported(tree, before);
                }
            }
            syn::UseTree::Name(name) => self.import(before, &name.ident, &name.ident),
            syn::UseTree::Rename(name) => self.import(before, &name.ident, &name.rename),
            syn::UseTree::Glob(glob) => {
                if let Some(path) = self.absolute(before) {
                    let line = glob.star_token.spans[0].start().line;
                    self.module.globs.push(path.clone());
                    self.module.paths.push((path, line));
                }
            }
        }
    }

    fn import(&mut self, before: &[String], name: &syn::Ident, called: &syn::Ident) {
        let line = name.span().start().line;
        let mut path = before.to_vec();
        let mut called = called.unraw().to_string();
        // `use a::{self, b}` imports `a`.
        if name == "self" {
            if called == "self" {
                called = before.last().cloned().unwrap_or_default();
            }
        } else {
            path.push(name.unraw().to_string());
        }
        if let Some(path) = self.absolute(&path) {
            self.module.imports.insert(called, path.clone());
            self.module.paths.push((path, line));
        }
    }

    /// Paths in what a macro is called with, or is made of.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut colons, mut line) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.used(&std::mem::take(&mut path), line);
                        line = name.span().start().line;
                    }
                    path.push(name.unraw().to_string());
                    colons = 0;
                }
                TokenTree::Punct(point) if point.as_char() == ':' => colons += 1,
                other => {
                    self.used(&std::mem::take(&mut path), line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.used(&path, line);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Const(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_for_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.imported(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|s| s.ident.unraw().to_string())
            .collect();
        let line = path
            .segments
            .first()
            .map_or(0, |first| first.ident.span().start().line);
        self.used(&names, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.tokens(called.tokens.clone());
    }

    // Who may see a thing isn't whom it uses.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }
}

/// Whether something is compiled for tests alone: `#[cfg(test)]`, or
/// `#[cfg(any(test, feature = "testing"))]`.
pub fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        let tokens = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && (tokens == "test" || tokens == "any(test,feature=\"testing\")")
    })
}

/// What `#[path = "…"]` says.
fn written_path(attributes: &[syn::Attribute]) -> Result<Option<String>> {
    for attribute in attributes {
        if let syn::Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("path")
        {
            let syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(path),
                ..
            }) = &pair.value
            else {
                bail!("a path that is no string");
            };
            return Ok(Some(path.value()));
        }
    }
    Ok(None)
}

/// An item's attributes.
fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item::{
        Const, Enum, ExternCrate, Fn, ForeignMod, Impl, Macro, Mod, Static, Struct, Trait, Type,
        Union, Use,
    };
    match item {
        Const(item) => &item.attrs,
        Enum(item) => &item.attrs,
        ExternCrate(item) => &item.attrs,
        Fn(item) => &item.attrs,
        ForeignMod(item) => &item.attrs,
        Impl(item) => &item.attrs,
        Macro(item) => &item.attrs,
        Mod(item) => &item.attrs,
        Static(item) => &item.attrs,
        Struct(item) => &item.attrs,
        Trait(item) => &item.attrs,
        Type(item) => &item.attrs,
        Union(item) => &item.attrs,
        Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item defines.
fn name(item: &syn::Item) -> Option<String> {
    let name = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.unraw().to_string())
}

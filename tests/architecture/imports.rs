//! Which file uses items of which other file, read from the parsed source.
//!
//! A name is followed through re-exports to the file that defines it, so a module that only re-exports an item
//! of its child does not depend on the child. What only tests use does not count. Arguments of macros are not parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, UseTree, Visibility};

/// The path of a module or an item within the crate: `["engine", "child"]`.
type Name = Vec<String>;

/// One module of the crate, in a file of its own or within another's.
#[derive(Debug, Default)]
struct Module {
    file: PathBuf,
    items: BTreeSet<String>,
    /// What a `use` line calls by which name, private or re-exported.
    bindings: BTreeMap<String, Name>,
    /// What `use …::*` names.
    globs: Vec<Name>,
}

/// Every file of the crate with the files whose items it uses.
pub(crate) fn graph(source: &Path) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let mut modules = BTreeMap::new();
    let mut parsed = Vec::new();
    for path in super::sources() {
        let relative = path.strip_prefix(source).unwrap().to_owned();
        let name = module_name(&relative);
        if name.iter().any(|part| part == "tests")
            || matches!(name.first(), Some(first) if first == "bench")
        {
            continue;
        }
        let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
        collect(&name, &relative, &file.items, &mut modules);
        parsed.push((name, relative, file));
    }
    let mut graph = BTreeMap::new();
    for (name, relative, file) in parsed {
        let mut uses = Uses {
            modules: &modules,
            module: name,
            files: BTreeSet::new(),
        };
        uses.visit_file(&file);
        uses.files.remove(&relative);
        graph.insert(relative, uses.files);
    }
    graph
}

/// `engine/child.rs` is `["engine", "child"]`; the root of the crate has no name.
fn module_name(relative: &Path) -> Name {
    let path = relative.with_extension("");
    let parts = path.iter().map(|part| part.to_str().unwrap().to_owned());
    parts.filter(|part| part != "lib").collect()
}

fn collect(name: &[String], file: &Path, items: &[Item], modules: &mut BTreeMap<Name, Module>) {
    let mut module = Module {
        file: file.to_owned(),
        ..Module::default()
    };
    for item in items {
        match item {
            Item::Use(line) if !only_for_tests(&line.attrs) => {
                bind(&line.tree, &mut Vec::new(), &mut module);
            }
            Item::Mod(ItemMod {
                ident,
                attrs,
                content: Some((_, items)),
                ..
            }) if !only_for_tests(attrs) => {
                let mut name = name.to_vec();
                name.push(ident.to_string());
                collect(&name, file, items, modules);
            }
            other => module.items.extend(defined(other)),
        }
    }
    modules.insert(name.to_vec(), module);
}

fn bind(tree: &UseTree, prefix: &mut Name, module: &mut Module) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            bind(&path.tree, prefix, module);
            prefix.pop();
        }
        UseTree::Group(group) => group
            .items
            .iter()
            .for_each(|tree| bind(tree, prefix, module)),
        UseTree::Glob(_) => module.globs.push(prefix.clone()),
        UseTree::Name(name) if name.ident == "self" => {
            module
                .bindings
                .insert(prefix.last().unwrap().clone(), prefix.clone());
        }
        UseTree::Name(name) => {
            let target = prefix
                .iter()
                .cloned()
                .chain([name.ident.to_string()])
                .collect();
            module.bindings.insert(name.ident.to_string(), target);
        }
        UseTree::Rename(rename) => {
            let mut target = prefix.clone();
            if rename.ident != "self" {
                target.push(rename.ident.to_string());
            }
            module.bindings.insert(rename.rename.to_string(), target);
        }
    }
}

fn defined(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        _ => return None,
    };
    Some(ident.to_string())
}

fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

/// Looks for the paths in one file and notes where what they name is defined.
struct Uses<'a> {
    modules: &'a BTreeMap<Name, Module>,
    /// The module that is being read.
    module: Name,
    files: BTreeSet<PathBuf>,
}

impl Uses<'_> {
    fn note(&mut self, path: &[String]) {
        let file = self.resolve(&self.module, path, 0);
        self.files.extend(file);
    }

    /// The file that defines what `path` names in the module `at`; `None` for what another crate defines.
    fn resolve(&self, at: &[String], path: &[String], depth: usize) -> Option<PathBuf> {
        let (first, rest) = path.split_first()?;
        let module = self.modules.get(at)?;
        match first.as_str() {
            _ if depth > 16 => None,
            "crate" => self.within(&[], rest, depth),
            "self" => self.within(at, rest, depth),
            "super" => self.within(&at[..at.len().checked_sub(1)?], rest, depth),
            _ if module.items.contains(first) || self.child(at, first).is_some() => {
                self.within(at, path, depth)
            }
            _ if module.bindings.contains_key(first) => self.within(at, path, depth),
            _ => module
                .globs
                .iter()
                .find_map(|glob| self.resolve(at, &[glob, path].concat(), depth + 1)),
        }
    }

    fn child(&self, at: &[String], name: &str) -> Option<Name> {
        let child: Name = at.iter().cloned().chain([name.to_owned()]).collect();
        self.modules.contains_key(&child).then_some(child)
    }

    /// The same for a path that begins in the module `at`.
    fn within(&self, at: &[String], path: &[String], depth: usize) -> Option<PathBuf> {
        let module = self.modules.get(at)?;
        let Some((first, rest)) = path.split_first() else {
            return Some(module.file.clone());
        };
        if first == "super" {
            return self.within(&at[..at.len().checked_sub(1)?], rest, depth);
        }
        if let Some(child) = self.child(at, first) {
            return self.within(&child, rest, depth);
        }
        if module.items.contains(first) {
            return Some(module.file.clone());
        }
        if let Some(target) = module.bindings.get(first)
            // A `use` line may begin with the name of another crate.
            && target.first() != Some(first)
        {
            let file = self.resolve(at, &[target, rest].concat(), depth + 1)?;
            // What one top module re-exports of another counts as its own.
            let passed_on = at
                .first()
                .is_some_and(|top| *at != *self.module && super::module(&file) != *top);
            return Some(if passed_on { module.file.clone() } else { file });
        }
        module
            .globs
            .iter()
            .find_map(|glob| self.resolve(at, &[glob, path].concat(), depth + 1))
    }
}

impl<'a> Visit<'a> for Uses<'_> {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !only_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    /// A re-export is no use of what it names.
    fn visit_item_use(&mut self, line: &'a syn::ItemUse) {
        if matches!(line.vis, Visibility::Inherited) {
            let mut module = Module::default();
            bind(&line.tree, &mut Vec::new(), &mut module);
            for target in module.bindings.into_values().chain(module.globs) {
                self.note(&target);
            }
        }
    }

    /// `pub(crate)` and `pub(super)` are paths, too.
    fn visit_visibility(&mut self, _: &'a Visibility) {}

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Name = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.note(&names);
        visit::visit_path(self, path);
    }
}

/// The groups of nodes that reach each other, each group sorted. A graph without cycles has none.
pub(crate) fn cycles<T: Clone + Ord>(graph: &BTreeMap<T, BTreeSet<T>>) -> Vec<Vec<T>> {
    let reached: BTreeMap<&T, BTreeSet<&T>> = graph
        .keys()
        .map(|node| (node, reachable(graph, node)))
        .collect();
    let mut groups = BTreeSet::new();
    for (node, others) in &reached {
        if others.contains(node) {
            let back = |other: &&&T| {
                reached
                    .get(**other)
                    .is_some_and(|theirs| theirs.contains(node))
            };
            groups.insert(
                others
                    .iter()
                    .filter(back)
                    .map(|other| (*other).clone())
                    .collect::<Vec<T>>(),
            );
        }
    }
    groups.into_iter().collect()
}

fn reachable<'a, T: Ord>(graph: &'a BTreeMap<T, BTreeSet<T>>, from: &T) -> BTreeSet<&'a T> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&T> = graph.get(from).into_iter().flatten().collect();
    while let Some(node) = open.pop() {
        if found.insert(node) {
            open.extend(graph.get(node).into_iter().flatten());
        }
    }
    found
}

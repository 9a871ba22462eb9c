//! The public items of this crate, compared with a list that is kept beside this test: nothing of it changes by accident.
//!
//! The list is read off the source, which rustfmt keeps in one form: declarations that begin with `pub`, variants of public
//! enums, and traits that public types implement or derive. It does not see what types of `memproto` have, which this crate
//! hands on. A line that goes or changes breaks programs: before 1.0.0 that takes a new minor version, and an entry in
//! CHANGELOG.md. `MEMSDK_SURFACE=write cargo test -p memsdk --test surface` writes the list anew.

#![allow(clippy::unwrap_used, reason = "this is all test code")]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_public_items_are_those_of_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = folder.join("tests/surface.txt");
    let mut items = String::new();
    for file in sources(&folder.join("src")) {
        let name = file
            .strip_prefix(folder.join("src"))
            .unwrap()
            .display()
            .to_string();
        let found = public_items(&fs::read_to_string(&file).unwrap());
        if !found.is_empty() {
            items += &format!("{name}\n    {}\n", found.join("\n    "));
        }
    }
    if std::env::var_os("MEMSDK_SURFACE").is_some_and(|mode| mode == "write") {
        fs::write(&list, &items).unwrap();
    }
    let listed = fs::read_to_string(&list).unwrap();
    let gone: Vec<_> = listed.lines().filter(|line| !items.contains(line)).collect();
    let new: Vec<_> = items.lines().filter(|line| !listed.contains(line)).collect();
    assert!(
        items == listed,
        "the public items are not those of tests/surface.txt.\ngone: {gone:#?}\nnew: {new:#?}"
    );
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The items of a file, each on a line.
fn public_items(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let mut items = Vec::new();
    let mut attributes = String::new();
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        if start.starts_with("#[derive")
            || start.starts_with("#[non_exhaustive")
            || start.starts_with("#[cfg(")
        {
            attributes += start;
            attributes += " ";
        } else if start.starts_with("pub ") || is_impl_of_public(start, source) {
            let mut item = start.to_owned();
            while !ends(&item) {
                let Some(next) = lines.next() else { break };
                item += " ";
                item += next.trim();
            }
            let is_enum = item.starts_with("pub enum ");
            items.push(format!(
                "{attributes}{}",
                item.trim_end_matches([' ', '{', ';', ','])
            ));
            attributes.clear();
            // What an enum has is public with it.
            while is_enum && lines.peek().is_some_and(|line| !line.starts_with('}')) {
                let variant = lines.next().unwrap().trim();
                if variant.starts_with(char::is_alphabetic) && variant.ends_with([',', '{']) {
                    items.push(format!("  {}", variant.trim_end_matches([',', ' ', '{'])));
                }
            }
        } else if !start.starts_with("//") && !start.starts_with("#[") {
            attributes.clear();
        }
    }
    items
}

fn ends(item: &str) -> bool {
    let open = item.matches(['(', '<']).count();
    let closed = item.replace("->", "").matches([')', '>']).count();
    item.ends_with(['{', ';']) || (item.ends_with(',') && open == closed)
}

/// Whether a line begins what a public type of the same file implements.
fn is_impl_of_public(line: &str, source: &str) -> bool {
    let Some((_, of)) = line
        .strip_prefix("impl")
        .and_then(|line| line.split_once(" for "))
    else {
        return false;
    };
    let name: String = of.chars().take_while(|c| c.is_alphanumeric()).collect();
    [format!("pub struct {name}"), format!("pub enum {name}")]
        .iter()
        .any(|declaration| source.contains(declaration.as_str()))
}

//! The source tree as the tidy tests see it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source_tree;

/// A text file of the source tree.
pub struct Source {
    /// Path from the top of the tree.
    pub path: String,
    /// Its contents.
    pub text: String,
}

impl Source {
    /// True if the path ends in one of these extensions, given with their dot.
    pub fn is(&self, extensions: &[&str]) -> bool {
        extensions.iter().any(|extension| self.path.ends_with(extension))
    }

    /// Numbered lines, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Every text file of the tree, without what is built or generated.
pub fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    walk(source_tree(), &mut paths);
    paths.sort();
    paths.iter().filter_map(|path| read(path)).collect()
}

/// One file, which must exist.
pub fn source(path: &str) -> Source {
    read(&source_tree().join(path)).unwrap_or_else(|| panic!("{path} is missing"))
}

fn read(path: &Path) -> Option<Source> {
    let text = fs::read_to_string(path).ok()?;
    let path = path.strip_prefix(source_tree()).expect("it was found below the top");
    Some(Source { path: path.display().to_string(), text })
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the source tree can be read").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if ["target", ".git", "corpus", "artifacts"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// A room of the map in ARCHITECTURE.md.
pub struct Room {
    /// Directory from the top of the tree.
    pub directory: String,
    /// What it may import, as the map says.
    pub imports: String,
}

/// The room map.
pub fn rooms() -> Vec<Room> {
    let architecture = source("ARCHITECTURE.md");
    let (_, section) = architecture.text.split_once("## Room map").expect("there is a room map");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        Room { directory: cells[0].trim_matches('`').to_string(), imports: cells[3].to_string() }
    })
    .collect()
}

/// Words of a text: runs of letters, digits and underscores.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}

/// The texts between backquotes.
pub fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

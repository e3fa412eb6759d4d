//! Which files the dynamic loader takes, by its own word: it is asked to list them (`ld.so --list`), which runs nothing
//! of the program or the libraries. So `LD_LIBRARY_PATH`, run paths, the cache, default directories and hardware variants
//! count as they do when a program starts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use crate::command;
use crate::image::Image;
use crate::owner;

/// The PMI libraries, by the names under which programs ask for them.
pub const PMI_LIBRARIES: [&str; 2] = ["libpmi.so.0", "libpmi2.so.0"];

/// Where the loader looks first.
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// A library that the loader was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Library {
    /// The name that was asked for.
    pub name: String,
    /// The file that is taken; none if none is found.
    pub path: Option<PathBuf>,
    /// What led there.
    pub by: Option<&'static str>,
    /// Whose it is.
    pub owner: Option<String>,
    /// Why it cannot be used, or why nothing is known of it.
    pub problem: Option<String>,
}

/// What a loader lists for a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Names and files, in the order of loading; no file where none is found.
    pub found: Vec<(String, Option<PathBuf>)>,
    /// Complaints, among them why a library could not be taken.
    pub complaints: Vec<String>,
}

impl Listing {
    /// Reads lines as `libpmi.so.0 => /usr/lib/libpmi.so.0 (0x…)`, `libx.so => not found`, and complaints.
    fn parse(text: &str) -> Listing {
        let mut listing = Listing::default();
        for line in text.lines().map(str::trim) {
            match line.split_once(" => ") {
                Some((name, "not found")) => listing.found.push((name.to_owned(), None)),
                Some((name, rest)) => {
                    let path = rest.rsplit_once(" (").map_or(rest, |(path, _)| path);
                    listing.found.push((name.to_owned(), Some(path.into())));
                }
                None if line.contains(": ") => listing.complaints.push(line.to_owned()),
                None => (),
            }
        }
        listing
    }

    /// The file taken for a name; `None` if the name is not among those asked for.
    pub fn of(&self, name: &str) -> Option<&Option<PathBuf>> {
        self.found.iter().find(|(found, _)| found == name).map(|(_, path)| path)
    }

    /// The names for which nothing is found.
    pub fn missing(&self) -> Vec<&str> {
        let missing = self.found.iter().filter(|(_, path)| path.is_none());
        missing.map(|(name, _)| name.as_str()).collect()
    }
}

/// The loader of this program itself, which is that of the machine.
pub fn own() -> Option<PathBuf> {
    Image::read(Path::new("/proc/self/exe")).ok()?.loader()
}

/// Asks a loader what it would load for a program, with these libraries before all others.
pub fn list(loader: &Path, program: &Path, preload: Option<&OsStr>) -> Option<Listing> {
    let mut question = Command::new(loader);
    question.arg("--list").arg(program);
    if let Some(preload) = preload {
        question.env("LD_PRELOAD", preload);
    }
    command::answer(question).map(|text| Listing::parse(&text))
}

/// The files that a program without a run path of its own gets for the PMI libraries. This program is such a one.
pub fn pmi_libraries() -> Vec<Library> {
    let asked = own().zip(std::env::current_exe().ok());
    PMI_LIBRARIES.iter().map(|name| look_up(name, asked.as_ref())).collect()
}

fn look_up(name: &str, asked: Option<&(PathBuf, PathBuf)>) -> Library {
    let listing = asked.and_then(|(loader, program)| list(loader, program, Some(OsStr::new(name))));
    match listing {
        None => unknown(name, "the dynamic loader did not answer"),
        Some(listing) => match listing.of(name) {
            Some(Some(path)) => Library::at(name, path, &listing.missing()),
            _ => unknown(name, complaint(&listing, name).as_deref().unwrap_or("not found")),
        },
    }
}

/// Why the loader did not take a library, in its own words.
fn complaint(listing: &Listing, name: &str) -> Option<String> {
    let line = listing.complaints.iter().find(|line| line.contains(name))?;
    let reason = line.split_once("(").and_then(|(_, rest)| rest.split_once(')'));
    reason
        .map(|(reason, _)| reason)
        .filter(|reason| !reason.starts_with("cannot open"))
        .map(str::to_owned)
}

fn unknown(name: &str, problem: &str) -> Library {
    Library {
        name: name.to_owned(),
        path: None,
        by: None,
        owner: None,
        problem: Some(problem.to_owned()),
    }
}

impl Library {
    /// The library at a path that was found for a name; `missing` are the libraries that it needs in vain.
    pub fn at(name: &str, path: &Path, missing: &[&str]) -> Library {
        let owner = owner::of(path);
        let needs = format!("it needs {}, not found", missing.join(", "));
        Library {
            name: name.to_owned(),
            path: Some(path.to_owned()),
            by: Some(way_to(path)),
            problem: owner.clone().err().or((!missing.is_empty()).then_some(needs)),
            owner: owner.ok(),
        }
    }
}

/// What must have led the loader to a file.
fn way_to(path: &Path) -> &'static str {
    let search = std::env::var_os(LIBRARY_PATH).unwrap_or_default();
    let mut directories =
        std::env::split_paths(&search).filter(|directory| !directory.as_os_str().is_empty());
    match directories.any(|directory| path.starts_with(directory)) {
        true => LIBRARY_PATH,
        false => "the loader's own directories",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read() {
        let listing = Listing::parse(
            "ERROR: ld.so: object 'libpmi2.so.0' from LD_PRELOAD cannot be preloaded (file too short): ignored.\n\
             \tlinux-vdso.so.1 (0x00007f92603ae000)\n\
             \tlibpmi.so.0 => /a (b)/libpmi.so.0 (0x00007f9260394000)\n\
             \tlibslurm_pmi.so => not found\n\
             \t/lib64/ld-linux-x86-64.so.2 (0x00007f92603b0000)\n",
        );
        assert_eq!(listing.of("libpmi.so.0"), Some(&Some("/a (b)/libpmi.so.0".into())));
        assert_eq!(listing.missing(), ["libslurm_pmi.so"]);
        assert_eq!(listing.of("libc.so.6"), None);
        assert_eq!(complaint(&listing, "libpmi2.so.0").as_deref(), Some("file too short"));
        assert_eq!(complaint(&listing, "libpmi.so.0"), None);
    }

    #[test]
    fn a_library_is_found_as_the_loader_finds_it() {
        let asked = (own().unwrap(), std::env::current_exe().unwrap());
        let libc = look_up("libc.so.6", Some(&asked));
        assert!(libc.path.is_some() && libc.problem.is_none(), "{libc:?}");
        let missing = look_up("libno-such.so.0", Some(&asked));
        assert_eq!((missing.path, missing.problem.as_deref()), (None, Some("not found")));
    }

    #[test]
    fn this_machines_loader_answers() {
        let program = std::env::current_exe().unwrap();
        let listing = list(&own().unwrap(), &program, None).unwrap();
        assert!(
            listing.found.iter().any(|(name, path)| name.starts_with("libc.so") && path.is_some())
        );
    }
}

//! A program that is to be a rank: which libraries it is linked with, and whether it would join.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::binding::{Binding, How, Offer};
use crate::image::Image;
use crate::loader::{self, Library, Listing, PMI_LIBRARIES};
use crate::machine;
use crate::mpi::{self, Mpi};

/// What is known of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// Why it cannot run, if so.
    pub problem: Option<String>,
    /// The PMI libraries that it is linked with, itself or through others.
    pub pmi: Vec<Library>,
    /// The MPI libraries that it is linked with.
    pub mpi: Vec<Linked>,
    /// What could not be looked at.
    #[serde(skip)]
    pub note: Option<String>,
}

/// An MPI library of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Linked {
    /// What a person calls it.
    pub name: &'static str,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// Its file, or the program itself.
    pub path: PathBuf,
    /// How the program finds its peers here.
    pub binding: Binding,
}

/// Looks at a program without running it.
pub fn look(name: &OsStr, offer: &Offer<'_>) -> Program {
    let Some(path) = find(name) else {
        let problem = Some(format!("{} is not found in PATH", name.display()));
        return Program { path: name.into(), problem, ..Program::default() };
    };
    let mut program = Program { path, ..Program::default() };
    match Image::read(&program.path) {
        Err(problem) => program.problem = Some(problem),
        Ok(image) => program.fill(&image, offer),
    }
    program
}

/// As a shell does.
fn find(name: &OsStr) -> Option<PathBuf> {
    match Path::new(name).components().count() > 1 || name.as_encoded_bytes().contains(&b'/') {
        true => Some(name.into()),
        false => machine::in_path(name.to_str()?),
    }
}

impl Program {
    fn fill(&mut self, image: &Image, offer: &Offer<'_>) {
        if let Some(interpreter) = image.script() {
            self.note = Some(format!(
                "{} is a script for {interpreter}: what that loads is not known here",
                self.path.display()
            ));
        } else if !image.is_elf() {
            self.problem = Some(format!("{} is not an ELF file", self.path.display()));
        } else if let Some(loader) = image.loader() {
            self.fill_linked(&loader, offer);
        } else {
            self.mpi = mpi::recognize_image(image, &self.path)
                .map(|mpi| linked(mpi, offer))
                .into_iter()
                .collect();
        }
    }

    /// Only the loader of this machine is asked: a program may name any file as its loader, and that would be run.
    fn fill_linked(&mut self, loader: &Path, offer: &Offer<'_>) {
        let canonical = |path: &Path| path.canonicalize().ok();
        if loader::own().and_then(|own| canonical(&own)) != canonical(loader) {
            self.note = Some(format!(
                "{} is for another loader, {}, which is not asked",
                self.path.display(),
                loader.display()
            ));
            return;
        }
        let preload = std::env::var_os("LD_PRELOAD");
        match loader::list(loader, &self.path, preload.as_deref()) {
            Some(listing) => self.fill_listed(&listing, offer),
            None => self.note = Some("the dynamic loader did not answer".into()),
        }
    }

    fn fill_listed(&mut self, listing: &Listing, offer: &Offer<'_>) {
        let missing = listing.missing();
        if !missing.is_empty() {
            self.problem =
                Some(format!("it needs {}, not found: set LD_LIBRARY_PATH", missing.join(", ")));
        }
        for (name, path) in &listing.found {
            let Some(path) = path else { continue };
            if PMI_LIBRARIES.contains(&name.as_str()) {
                self.pmi.push(Library::at(name, path, &[]));
            }
            self.mpi.extend(mpi::recognize(name, path).map(|mpi| linked(mpi, offer)));
        }
        if self.mpi.is_empty() && self.pmi.is_empty() && self.problem.is_none() {
            self.note = Some(format!(
                "{} is linked with no MPI or PMI library that is known here; what it loads at run time is not seen",
                self.path.display()
            ));
        }
    }

    /// How it finds its peers without any library of ours, where it does: `PMI_Init` is then nothing to it.
    pub fn finds_peers_itself(&self) -> Option<&Linked> {
        let itself = |linked: &Linked| {
            let how = linked.binding.how;
            linked.binding.joins && matches!(how, How::Descriptor | How::Port | How::Pmix)
        };
        self.mpi.first().filter(|_| self.problem.is_none() && self.mpi.iter().all(itself))
    }

    /// Why it would not become a rank of this job. `slurms_works`: does it do with Slurm's PMI library?
    pub fn stays_out(&self, slurms_works: bool) -> Option<String> {
        if let Some(problem) = &self.problem {
            return Some(problem.clone());
        }
        if let Some(linked) = self.mpi.iter().find(|linked| !linked.binding.joins) {
            return Some(format!("{}: {}", linked.name, linked.binding.text));
        }
        let slurms = |library: &&Library| library.owner.as_deref() == Some("Slurm");
        let library = self.pmi.iter().find(slurms).filter(|_| !slurms_works)?;
        Some(format!(
            "it gets Slurm's {}, which finds nobody outside of srun: put the directory of ours first in LD_LIBRARY_PATH",
            library.name
        ))
    }
}

fn linked(mpi: Mpi, offer: &Offer<'_>) -> Linked {
    Linked {
        name: mpi.family.name(),
        version: mpi.version,
        path: mpi.path,
        binding: offer.binding(mpi.family),
    }
}

//! How a program finds its peers in this environment, by the library that it starts with. These libraries read the
//! variables as they are, whoever set them.

use std::path::PathBuf;

use pmi_client::environment::descriptor::Descriptor;
use serde::Serialize;

use crate::mpi::Family;
use crate::owner;

/// What leads a program to its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// `PMI_FD`
    Descriptor,
    /// `PMI_PORT` and `PMI_ID`
    Port,
    /// A PMI library.
    Library,
    /// A PMIx server.
    Pmix,
    /// Nothing: each process is a job of its own.
    None,
}

/// How a library binds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// By which way.
    pub how: How,
    /// Does such a program become a rank of the job that this process is in? True of a job of one.
    pub joins: bool,
    /// The same for a person.
    pub text: String,
}

/// What the environment offers to such libraries.
pub struct Offer<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    open: &'a dyn Fn(i32) -> Descriptor,
    /// Is this process one of several?
    several: bool,
}

const JOB_OF_ONE: &str = "each process would be a job of its own";

impl<'a> Offer<'a> {
    /// `lookup` reads variables, `open` says what is open at a descriptor.
    pub fn new(
        lookup: &'a dyn Fn(&str) -> Option<String>,
        open: &'a dyn Fn(i32) -> Descriptor,
        several: bool,
    ) -> Offer<'a> {
        Offer { lookup, open, several }
    }

    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn is_set(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// How a library binds here.
    pub fn binding(&self, family: Family) -> Binding {
        match family {
            Family::Mpich => self.mpich(),
            Family::Intel => self.intel(),
            Family::OpenMpi4 => self.open_mpi_4(),
            Family::OpenMpi5 => self.pmix("it needs PMIx").unwrap_or_else(|| {
                self.none("it needs PMIx, which is not here: start it with its own mpirun, or use Open MPI 4 or MPICH")
            }),
            Family::Nvshmem => self.nvshmem(),
        }
    }

    fn mpich(&self) -> Binding {
        match self.is_set("PMIX_NAMESPACE") && self.is_set("PMI_SIZE") {
            true => self.none("MPICH 5 aborts where both PMIX_NAMESPACE and PMI_SIZE are set: unset PMIX_NAMESPACE"),
            false => self.wire(),
        }
    }

    fn intel(&self) -> Binding {
        match self.text("I_MPI_PMI_LIBRARY") {
            Some(path) => self.library("I_MPI_PMI_LIBRARY", path),
            None => self.wire(),
        }
    }

    fn open_mpi_4(&self) -> Binding {
        let flux = self.text("FLUX_PMI_LIBRARY_PATH").filter(|_| self.is_set("FLUX_JOB_ID"));
        match (self.pmix("its mpirun has set it"), flux) {
            (Some(pmix), _) => pmix,
            (None, Some(path)) => self.library("FLUX_PMI_LIBRARY_PATH", path),
            (None, None) => self.none(
                "FLUX_JOB_ID and FLUX_PMI_LIBRARY_PATH, by which it finds a libpmi.so, are not set",
            ),
        }
    }

    fn nvshmem(&self) -> Binding {
        let by = self.text("NVSHMEM_BOOTSTRAP").unwrap_or_else(|| "PMI".into());
        let flavour = self.text("NVSHMEM_BOOTSTRAP_PMI").unwrap_or_else(|| "PMI".into());
        match (by.as_str(), flavour.as_str()) {
            ("PMI", "PMIX") => {
                self.pmix("NVSHMEM_BOOTSTRAP_PMI asks for it").unwrap_or_else(|| {
                    self.none("NVSHMEM_BOOTSTRAP_PMI=PMIX, but there is no PMIx here")
                })
            }
            ("PMI", _) => self.wire(),
            _ => Binding {
                how: How::None,
                joins: true,
                text: format!("NVSHMEM_BOOTSTRAP={by}: not through PMI"),
            },
        }
    }

    /// A client of the wire protocol: a descriptor first, then a port. Without rank and size beside the descriptor,
    /// every process is rank 0 of 1.
    fn wire(&self) -> Binding {
        let placed = self.is_set("PMI_RANK") && self.is_set("PMI_SIZE");
        let number = self.text("PMI_FD").and_then(|text| text.parse().ok());
        match number.map(|number| (number, (self.open)(number))) {
            Some((number, Descriptor::Socket(_))) if placed => {
                binds(How::Descriptor, format!("its own PMI client, at PMI_FD={number}"))
            }
            Some((number, Descriptor::Socket(_))) => {
                self.none(&format!("PMI_FD={number}, but PMI_RANK and PMI_SIZE are not set"))
            }
            Some((number, _)) if !self.has_port() => self.none(&format!(
                "nothing is open at PMI_FD={number}: a program in between has closed it"
            )),
            _ => self.port(),
        }
    }

    fn has_port(&self) -> bool {
        self.is_set("PMI_PORT") && self.is_set("PMI_ID")
    }

    fn port(&self) -> Binding {
        match (self.text("PMI_PORT"), self.text("PMI_ID")) {
            (Some(port), Some(id)) => {
                binds(How::Port, format!("its own PMI client, at PMI_PORT={port} with PMI_ID={id}"))
            }
            _ => self.none(
                "its own PMI client finds neither PMI_FD nor PMI_PORT: put pmi-exec before the program, or start it with \
                 pmi-ssh",
            ),
        }
    }

    /// A library that a variable names.
    fn library(&self, variable: &str, path: String) -> Binding {
        match owner::of(&PathBuf::from(&path)) {
            Ok(owner) => binds(How::Library, format!("{variable}={path} ({owner})")),
            Err(problem) => Binding {
                how: How::None,
                joins: false,
                text: format!("{variable} names a library that cannot be used: {problem}"),
            },
        }
    }

    fn pmix(&self, why: &str) -> Option<Binding> {
        let namespace = self.text("PMIX_NAMESPACE")?;
        Some(binds(How::Pmix, format!("PMIX_NAMESPACE={namespace}: {why}")))
    }

    fn none(&self, why: &str) -> Binding {
        let several = if self.several { format!("; {JOB_OF_ONE}") } else { String::new() };
        Binding { how: How::None, joins: !self.several, text: format!("{why}{several}") }
    }
}

fn binds(how: How, text: String) -> Binding {
    Binding { how, joins: true, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(family: Family, words: &str, open: Descriptor, several: bool) -> Binding {
        let lookup = |name: &str| {
            let mut pairs = words.split_whitespace().filter_map(|word| word.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        Offer::new(&lookup, &|_| open, several).binding(family)
    }

    #[test]
    fn every_library_binds_as_seen() {
        use Family::{Intel, Mpich, Nvshmem, OpenMpi4, OpenMpi5};
        let (socket, closed) = (Descriptor::Socket(1), Descriptor::Closed);
        let rank = "PMI_RANK=0 PMI_SIZE=2";
        for (family, words, open, how, joins) in [
            (Mpich, "PMI_FD=7", socket, How::Descriptor, true),
            (Mpich, "PMI_FD=7", closed, How::None, false),
            (Mpich, "PMI_FD=7 PMI_PORT=h:1 PMI_ID=0", closed, How::Port, true),
            (Mpich, "PMI_PORT=h:1", closed, How::None, false),
            (Mpich, "PMI_FD=7 PMIX_NAMESPACE=n", socket, How::None, false),
            (Intel, "PMI_FD=7", socket, How::Descriptor, true),
            (Intel, "PMI_FD=7 I_MPI_PMI_LIBRARY=/no/such", socket, How::None, false),
            (Intel, "I_MPI_PMI_LIBRARY=/proc/self/exe", socket, How::Library, true),
            (OpenMpi4, "PMI_FD=7", socket, How::None, false),
            (OpenMpi4, "FLUX_PMI_LIBRARY_PATH=/proc/self/exe", socket, How::None, false),
            (
                OpenMpi4,
                "FLUX_JOB_ID=1 FLUX_PMI_LIBRARY_PATH=/proc/self/exe",
                socket,
                How::Library,
                true,
            ),
            (OpenMpi4, "PMIX_NAMESPACE=n", socket, How::Pmix, true),
            (
                OpenMpi5,
                "FLUX_JOB_ID=1 FLUX_PMI_LIBRARY_PATH=/proc/self/exe",
                socket,
                How::None,
                false,
            ),
            (OpenMpi5, "PMIX_NAMESPACE=n", socket, How::Pmix, true),
            (Nvshmem, "PMI_FD=7 NVSHMEM_BOOTSTRAP_PMI=PMI-2", socket, How::Descriptor, true),
            (Nvshmem, "PMI_FD=7 NVSHMEM_BOOTSTRAP_PMI=PMIX", socket, How::None, false),
            (Nvshmem, "NVSHMEM_BOOTSTRAP=MPI", closed, How::None, true),
        ] {
            let found = binding(family, &format!("{words} {rank}"), open, true);
            assert_eq!((found.how, found.joins), (how, joins), "{family:?} {words}: {found:?}");
        }
        let outside = binding(Mpich, "", closed, false);
        assert!(outside.joins && outside.how == How::None);
        assert!(!binding(Mpich, "PMI_FD=7", socket, true).joins);
    }
}

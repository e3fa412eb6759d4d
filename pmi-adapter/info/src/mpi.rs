//! The MPI libraries that we know, and how to tell them from their files.

use std::path::{Path, PathBuf};

use crate::image::Image;

/// A library that starts through PMI or PMIx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// MPICH: a wire client of its own.
    Mpich,
    /// Intel MPI: a wire client of its own, or a library that a variable names.
    Intel,
    /// Open MPI before version 5.
    OpenMpi4,
    /// Open MPI from version 5: PMIx only.
    OpenMpi5,
    /// NVSHMEM: a wire client of its own.
    Nvshmem,
}

impl Family {
    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Mpich => "MPICH",
            Family::Intel => "Intel MPI",
            Family::OpenMpi4 | Family::OpenMpi5 => "Open MPI",
            Family::Nvshmem => "NVSHMEM",
        }
    }

    /// Open MPI of this version. Without a version it is taken for the older: that one may work.
    pub fn open_mpi(version: Option<&str>) -> Family {
        let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        if major.is_some_and(|major| major >= 5) { Family::OpenMpi5 } else { Family::OpenMpi4 }
    }
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mpi {
    /// Which it is.
    pub family: Family,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// Where it is: the program itself if it is linked statically.
    pub path: PathBuf,
}

/// How the names of files begin that may be one of them; wrappers for other languages are not.
const PREFIXES: [&str; 5] =
    ["libmpi.so", "libmpich.so", "libmpi_abi.so", "libnvshmem", "nvshmem_bootstrap_pmi"];

/// The library of a file, by its name first: most that a program loads is not read.
pub fn recognize(name: &str, path: &Path) -> Option<Mpi> {
    if !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    if name.contains("nvshmem") {
        return Some(Mpi { family: Family::Nvshmem, version: None, path: path.to_owned() });
    }
    recognize_image(&Image::read(path).ok()?, path)
}

/// The library that an ELF file is, or holds.
pub fn recognize_image(image: &Image, path: &Path) -> Option<Mpi> {
    let of = |family, version| Some(Mpi { family, version, path: path.to_owned() });
    if let Some(version) = image.text_at("ompi_version_string") {
        return of(Family::open_mpi(Some(&version)), Some(version));
    }
    if image.holds("Intel(R) MPI Library") {
        return of(Family::Intel, intel_version(image));
    }
    if image.holds("MPICH Version:") {
        let in_paths = || image.between("/mpich-", "/").find(|text| is_version(text));
        return of(Family::Mpich, image.text_at("MPII_Version_string").or_else(in_paths));
    }
    None
}

/// Versions are years: a string such as `2021.18.1`.
fn intel_version(image: &Image) -> Option<String> {
    let found = image.between("\x0020", "\0").find(|text| text.contains('.') && is_version(text));
    found.map(|rest| format!("20{rest}"))
}

/// As 4.0.2, 21.18.1 or 4.1rc1.
fn is_version(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_mpi_5_is_told_from_4() {
        for (version, family) in [
            (Some("4.1.4"), Family::OpenMpi4),
            (Some("5.0.6"), Family::OpenMpi5),
            (Some("10.0"), Family::OpenMpi5),
            (Some("main"), Family::OpenMpi4),
            (None, Family::OpenMpi4),
        ] {
            assert_eq!(Family::open_mpi(version), family, "{version:?}");
        }
    }

    #[test]
    fn other_libraries_are_not_even_read() {
        assert_eq!(recognize("libmpicxx.so.12", Path::new("/no/such")), None);
        let nvshmem = recognize("libnvshmem_host.so.3", Path::new("/no/such")).unwrap();
        assert_eq!(nvshmem.family, Family::Nvshmem);
    }
}

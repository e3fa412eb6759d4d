//! What a starter puts into a rank's environment, and takes out of it, so that whatever PMI client it carries finds us.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the dynamic linker looks first.
pub const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// Variables of PMIx: MPICH 5 aborts when it finds both them and `PMI_SIZE`.
pub const PMIX_PREFIX: &str = "PMIX_";

/// Variables of other servers of the wire protocol, which speak of a connection that is not ours.
pub const FOREIGN_WIRE: &[&str] = &[
    "HYDI_CONTROL_FD",
    "PMI_CONTROL_FD",
    "PMI_CONTROL_PORT",
    "PMI_FD",
    "PMI_HOSTNAME",
    "PMI_ID",
    "PMI_JOBID",
    "PMI_PORT",
];

/// Variables by which programs find our `libpmi.so`: those linked with a libpmi.so.0 by the first, which is put
/// before what the user has there, Intel MPI by the second, Open MPI 4 by the other two together.
///
/// Open MPI wants a number that differs from job to job. It clears bit 15 of it in the names of peers but not in
/// its own (seen with 4.1.4: all ranks are "unreachable" then), so that bit stays clear.
pub fn presets(library: &Path, job_number: u64) -> Vec<(&'static str, OsString)> {
    let directory = library.parent().unwrap_or(Path::new("."));
    let job_number = job_number & !(1 << 15);
    vec![
        (LIBRARY_PATH, directory.as_os_str().to_owned()),
        ("I_MPI_PMI_LIBRARY", library.as_os_str().to_owned()),
        ("FLUX_JOB_ID", job_number.to_string().into()),
        ("FLUX_PMI_LIBRARY_PATH", library.as_os_str().to_owned()),
    ]
}

/// A preset as it is set beside what the environment has under its name: a search path goes before the user's own,
/// anything else takes its place.
pub fn before_own(name: &str, value: &OsStr, own: Option<&OsStr>) -> OsString {
    let mut value = value.to_owned();
    if let Some(own) = own.filter(|own| name == LIBRARY_PATH && !own.is_empty()) {
        value.push(":");
        value.push(own);
    }
    value
}

/// Our `libpmi.so`, seen from the directory of our programs: in `../lib`, or beside them, as in a build directory.
pub fn library(programs: &Path) -> Option<PathBuf> {
    ["../lib/libpmi.so", "../lib/libpmi.so.0", "libpmi.so"]
        .into_iter()
        .map(|name| programs.join(name))
        .find_map(|path| {
            std::fs::canonicalize(path.parent()?).ok().zip(path.file_name()).and_then(existing)
        })
}

/// The directory is made canonical, the name is not: `libpmi.so` shall stay `libpmi.so`.
fn existing((directory, name): (PathBuf, &OsStr)) -> Option<PathBuf> {
    let path = directory.join(name);
    path.exists().then_some(path)
}

/// Must a rank of ours not see this variable, because it speaks of another server's connection?
pub fn is_foreign(name: &OsStr) -> bool {
    name.as_bytes().starts_with(PMIX_PREFIX.as_bytes())
        || FOREIGN_WIRE.iter().any(|foreign| name == *foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_path_goes_before_the_users_own() {
        let ours = OsStr::new("/lib");
        assert_eq!(before_own(LIBRARY_PATH, ours, Some(OsStr::new("/a:/b"))), "/lib:/a:/b");
        assert_eq!(before_own(LIBRARY_PATH, ours, Some(OsStr::new(""))), "/lib");
        assert_eq!(before_own("I_MPI_PMI_LIBRARY", ours, Some(OsStr::new("/x"))), "/lib");
    }

    #[test]
    fn open_mpi_gets_a_number_that_it_can_keep() {
        let presets = presets(Path::new("/lib/libpmi.so"), 0xffff);
        assert!(presets.contains(&("FLUX_JOB_ID", 0x7fff.to_string().into())));
    }
}

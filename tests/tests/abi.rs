//! The built libraries as a linker and a compiler see them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pmi_tests::artifacts::library_dir;
use pmi_tests::source_tree;

/// The newest glibc that the library may need: Rust's own standard library needs 2.34 when it is built on a
/// system that has it, which are RHEL 9, Debian 12, Ubuntu 22.04 and later.
const GLIBC_MAX: [u32; 2] = [2, 34];

/// What Intel MPI 2021 resolves in a PMI-1 library, or refuses it.
const INTEL_MPI_NEEDS: [&str; 20] = [
    "PMI_Init",
    "PMI_Initialized",
    "PMI_Finalize",
    "PMI_Get_size",
    "PMI_Get_rank",
    "PMI_Get_universe_size",
    "PMI_Get_appnum",
    "PMI_Barrier",
    "PMI_Abort",
    "PMI_KVS_Get_my_name",
    "PMI_KVS_Get_name_length_max",
    "PMI_KVS_Get_key_length_max",
    "PMI_KVS_Get_value_length_max",
    "PMI_KVS_Put",
    "PMI_KVS_Commit",
    "PMI_KVS_Get",
    "PMI_Spawn_multiple",
    "PMI_Publish_name",
    "PMI_Unpublish_name",
    "PMI_Lookup_name",
];

/// What Intel MPI 2021 resolves in a PMI-2 library.
const INTEL_MPI_NEEDS_OF_PMI2: [&str; 14] = [
    "PMI2_Init",
    "PMI2_Job_GetId",
    "PMI2_Finalize",
    "PMI2_Abort",
    "PMI2_KVS_Put",
    "PMI2_KVS_Get",
    "PMI2_KVS_Fence",
    "PMI2_Info_PutNodeAttr",
    "PMI2_Info_GetNodeAttr",
    "PMI2_Info_GetJobAttr",
    "PMI2_Nameserv_publish",
    "PMI2_Nameserv_lookup",
    "PMI2_Nameserv_unpublish",
    "PMI2_Job_Spawn",
];

/// A library, and where the source tree says what it has.
struct Built {
    soname: &'static str,
    symbols: &'static str,
    header: &'static str,
    intel_mpi_needs: &'static [&'static str],
    /// What no symbol may begin with: MPI libraries probe several interfaces and take the first that they find.
    foreign: &'static [&'static str],
}

const LIBRARIES: [Built; 2] = [
    Built {
        soname: "libpmi.so.0",
        symbols: "symbols.txt",
        header: "pmi.h",
        intel_mpi_needs: &INTEL_MPI_NEEDS,
        foreign: &["PMI2_", "PMIx_"],
    },
    Built {
        soname: "libpmi2.so.0",
        symbols: "libpmi2/symbols.txt",
        header: "pmi2.h",
        intel_mpi_needs: &INTEL_MPI_NEEDS_OF_PMI2,
        foreign: &["PMI_", "PMIx_"],
    },
];

fn adapter(file: &str) -> PathBuf {
    source_tree().join("pmi-adapter").join(file)
}

fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}; run scripts/test"))
}

fn printed(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("binutils print UTF-8")
}

impl Built {
    fn path(&self) -> PathBuf {
        library_dir().join(self.soname)
    }

    /// Symbols that the library defines for others.
    fn exported(&self) -> Vec<String> {
        let table = printed(Command::new("nm").args(["-D", "--defined-only"]).arg(self.path()));
        let mut names: Vec<_> = table
            .lines()
            .filter_map(|line| line.split_whitespace().last())
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    fn listed(&self) -> Vec<String> {
        let list = std::fs::read_to_string(adapter(self.symbols)).expect("the list is readable");
        list.lines().map(str::to_owned).collect()
    }
}

#[test]
fn exported_symbols_are_those_of_the_list() {
    for library in &LIBRARIES {
        let listed = library.listed();
        assert!(listed.is_sorted(), "{} is sorted by byte", library.symbols);
        assert_eq!(library.exported(), listed);
    }
}

#[test]
fn symbols_carry_no_version_and_no_other_generation_of_pmi() {
    for library in &LIBRARIES {
        let exported = library.exported();
        let is_foreign =
            |name: &&String| library.foreign.iter().any(|prefix| name.starts_with(prefix));
        assert_eq!(exported.iter().find(is_foreign), None, "{}", library.soname);
        assert!(exported.iter().all(|name| !name.contains('@')), "{exported:?}");
    }
}

#[test]
fn intel_mpi_finds_what_it_resolves() {
    for library in &LIBRARIES {
        let exported = library.exported();
        let missing: Vec<_> = library
            .intel_mpi_needs
            .iter()
            .filter(|name| !exported.iter().any(|other| other == *name))
            .collect();
        assert!(missing.is_empty(), "{}: {missing:?}", library.soname);
    }
}

#[test]
fn the_headers_declare_every_symbol_and_no_other() {
    for library in &LIBRARIES {
        let header = std::fs::read_to_string(adapter("include").join(library.header))
            .expect("the header is readable");
        let declared: BTreeSet<_> = header
            .lines()
            .filter_map(|line| line.strip_prefix("int ")?.split_once('('))
            .map(|(name, _)| name.to_owned())
            .collect();
        assert_eq!(declared, library.listed().into_iter().collect());
    }
}

#[test]
fn the_sonames_are_those_that_mpi_libraries_ask_for() {
    for library in &LIBRARIES {
        let dynamic = printed(Command::new("readelf").arg("-d").arg(library.path()));
        let soname = format!("Library soname: [{}]", library.soname);
        assert!(dynamic.contains(&soname), "{dynamic}");
        for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
            let known = ["[libc.so.6]", "[libgcc_s.so.1]", "[ld-linux-"];
            assert!(known.iter().any(|name| line.contains(name)), "{line}");
        }
    }
}

#[test]
fn no_newer_glibc_is_needed_than_stated() {
    for library in &LIBRARIES {
        let symbols = printed(Command::new("objdump").arg("-T").arg(library.path()));
        let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
            let version = rest.split([')', ' ']).next()?;
            Some(version.split('.').filter_map(|part| part.parse().ok()).collect::<Vec<u32>>())
        });
        let newest = versions.max().expect("the library uses libc");
        assert!(
            newest.as_slice() <= GLIBC_MAX.as_slice(),
            "{} needs glibc {newest:?}",
            library.soname
        );
    }
}

/// Compiles a program that is nothing but the headers, each included twice.
fn compile_headers(compiler: &str, options: &[&str]) {
    const TWICE: &str =
        "#include <pmi.h>\n#include <pmi2.h>\n#include <pmi.h>\n#include <pmi2.h>\n";
    let directory = tempfile::tempdir().expect("temporary directories can be made");
    let program = directory.path().join("header.c");
    std::fs::write(&program, TWICE).expect("it is writable");
    let output = output(
        Command::new(compiler)
            .args(options)
            .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"])
            .arg(adapter("include"))
            .arg(&program),
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_headers_are_strict_c99() {
    compile_headers("cc", &["-std=c99"]);
}

#[test]
fn the_headers_are_strict_cpp() {
    compile_headers("c++", &["-std=c++17", "-x", "c++"]);
}

/// Slurm's `pmi2.h` and ours, in two files: the types that cross the interface must have one layout.
#[test]
fn the_types_of_pmi2_are_laid_out_as_in_slurms_header() {
    let slurms = Path::new("/usr/include/slurm");
    assert!(slurms.join("pmi2.h").exists(), "install libpmi2-0-dev, or run scripts/test");
    let layout = |include: &Path| {
        let directory = tempfile::tempdir().expect("temporary directories can be made");
        let (source, program) =
            (directory.path().join("layout.c"), directory.path().join("layout"));
        std::fs::write(&source, LAYOUT).expect("it is writable");
        let compiler = &mut Command::new("cc");
        printed(compiler.arg("-I").arg(include).arg(&source).arg("-o").arg(&program));
        printed(&mut Command::new(program))
    };
    assert_eq!(layout(&adapter("include")), layout(slurms));
}

const LAYOUT: &str = r#"
#include <pmi2.h>
#include <stddef.h>
#include <stdio.h>
#define PLACE(type, member) printf("%s.%s %zu\n", #type, #member, offsetof(type, member))
int main(void)
{
    PLACE(PMI2_Connect_comm_t, read);
    PLACE(PMI2_Connect_comm_t, write);
    PLACE(PMI2_Connect_comm_t, ctx);
    PLACE(PMI2_Connect_comm_t, isMaster);
    PLACE(MPID_Info, next);
    PLACE(MPID_Info, key);
    PLACE(MPID_Info, value);
    printf("%zu %zu\n", sizeof(PMI2_Connect_comm_t), sizeof(MPID_Info));
    printf("%d %d %d %d\n", PMI2_MAX_KEYLEN, PMI2_MAX_VALLEN, PMI2_MAX_ATTRVALUE, PMI2_ID_NULL);
    printf("%d %d %d\n", PMI2_FAIL, PMI2_ERR_INIT, PMI2_ERR_OTHER);
    return 0;
}
"#;

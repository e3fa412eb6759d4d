//! The built `libpmi.so` as a linker and a compiler see it.

use std::collections::BTreeSet;
use std::path::PathBuf;
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

fn library() -> PathBuf {
    library_dir().join("libpmi.so.0")
}

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

/// Symbols that the library defines for others.
fn exported() -> Vec<String> {
    let table = printed(Command::new("nm").args(["-D", "--defined-only"]).arg(library()));
    let mut names: Vec<_> = table
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

fn listed() -> Vec<String> {
    let list = std::fs::read_to_string(adapter("symbols.txt")).expect("the list is readable");
    list.lines().map(str::to_owned).collect()
}

#[test]
fn exported_symbols_are_those_of_the_list() {
    let listed = listed();
    assert!(listed.is_sorted(), "symbols.txt is sorted by byte");
    assert_eq!(exported(), listed);
}

#[test]
fn symbols_carry_no_version_and_no_other_generation_of_pmi() {
    let exported = exported();
    // A library that also has PMI-2 would be used as PMI-2.
    let foreign =
        exported.iter().find(|name| name.starts_with("PMI2_") || name.starts_with("PMIx_"));
    assert_eq!(foreign, None);
    assert!(exported.iter().all(|name| !name.contains('@')), "{exported:?}");
}

#[test]
fn intel_mpi_finds_what_it_resolves() {
    let exported = exported();
    let missing: Vec<_> = INTEL_MPI_NEEDS
        .iter()
        .filter(|name| !exported.iter().any(|other| other == *name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_header_declares_every_symbol_and_no_other() {
    let header = std::fs::read_to_string(adapter("include/pmi.h")).expect("the header is readable");
    let declared: BTreeSet<_> = header
        .lines()
        .filter_map(|line| line.strip_prefix("int ")?.split_once('('))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(declared, listed().into_iter().collect());
}

#[test]
fn the_soname_is_the_one_that_mpi_libraries_ask_for() {
    let dynamic = printed(Command::new("readelf").arg("-d").arg(library()));
    assert!(dynamic.contains("Library soname: [libpmi.so.0]"), "{dynamic}");
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let known = ["[libc.so.6]", "[libgcc_s.so.1]", "[ld-linux-"];
        assert!(known.iter().any(|name| line.contains(name)), "{line}");
    }
}

#[test]
fn no_newer_glibc_is_needed_than_stated() {
    let symbols = printed(Command::new("objdump").arg("-T").arg(library()));
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let version = rest.split([')', ' ']).next()?;
        Some(version.split('.').filter_map(|part| part.parse().ok()).collect::<Vec<u32>>())
    });
    let newest = versions.max().expect("the library uses libc");
    assert!(newest.as_slice() <= GLIBC_MAX.as_slice(), "needs glibc {newest:?}");
}

/// Compiles a program that is nothing but the header, twice included.
fn compile_header(compiler: &str, options: &[&str]) {
    let directory = tempfile::tempdir().expect("temporary directories can be made");
    let program = directory.path().join("header.c");
    std::fs::write(&program, "#include <pmi.h>\n#include <pmi.h>\n").expect("it is writable");
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
fn the_header_is_strict_c99() {
    compile_header("cc", &["-std=c99"]);
}

#[test]
fn the_header_is_strict_cpp() {
    compile_header("c++", &["-std=c++17", "-x", "c++"]);
}

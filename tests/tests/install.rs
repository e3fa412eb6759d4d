//! What scripts/install puts under a prefix works without the source tree, and goes away again.

use std::fs;
use std::path::Path;
use std::process::Command;

use pmi_tests::{Job, source_tree};

/// Runs a program to its end; returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {errors}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

fn install(prefix: &Path, arguments: &[&str]) {
    let mut command = Command::new(source_tree().join("scripts/install"));
    run(command.arg("--prefix").arg(prefix).args(arguments));
}

/// Compiles a test program with what pkg-config says about the installed library.
fn compile_against(prefix: &Path, program: &Path) {
    let mut ask = Command::new("pkg-config");
    ask.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(["--cflags", "--libs", "pmi"]);
    let flags = run(&mut ask);
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(program).arg(source_tree().join("tests/programs/exchange.c"));
    run(compiler.args(flags.split_whitespace()));
}

fn files_below(directory: &Path) -> Vec<String> {
    let mut find = Command::new("find");
    let found = run(find
        .arg(directory)
        .args(["(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%P\n"]));
    let mut files: Vec<String> = found.lines().map(str::to_string).collect();
    files.sort();
    files
}

fn assert_independent(library: &Path) {
    let dynamic = run(Command::new("readelf").arg("-d").arg(library));
    assert!(dynamic.contains("Library soname: [libpmi.so.0]"), "{dynamic}");
    assert!(!dynamic.contains("RPATH") && !dynamic.contains("RUNPATH"), "{dynamic}");
}

#[test]
fn an_installation_works_and_can_be_removed() {
    let place = tempfile::tempdir().expect("temporary directories can be made");
    let prefix = place.path().join("prefix");
    install(&prefix, &[]);
    for file in [
        "bin/pmi-ssh",
        "bin/pmi-kvs-server",
        "lib/libpmi.so",
        "include/pmi.h",
        "share/man/man1/pmi-ssh.1",
    ] {
        assert!(prefix.join(file).exists(), "{file} is missing among {:?}", files_below(&prefix));
    }
    assert_independent(&prefix.join("lib/libpmi.so.0"));

    let program = place.path().join("exchange");
    compile_against(&prefix, &program);
    let job = Job::new(&prefix.join("bin/pmi-ssh")).args(["-n", "3"]).arg(&program).arg("3");
    let outcome = job.env("LD_LIBRARY_PATH", prefix.join("lib")).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "exchange: 3 ranks, all values right\n");

    install(&prefix, &["--uninstall"]);
    assert_eq!(files_below(&prefix), Vec::<String>::new());
}

#[test]
fn a_package_is_staged_below_destdir() {
    let place = tempfile::tempdir().expect("temporary directories can be made");
    let mut command = Command::new(source_tree().join("scripts/install"));
    run(command.args(["--prefix", "/opt/pmi"]).env("DESTDIR", place.path()));
    assert!(place.path().join("opt/pmi/bin/pmi-ssh").exists());
    let description =
        fs::read_to_string(place.path().join("opt/pmi/lib/pkgconfig/pmi.pc")).expect("it is there");
    assert!(description.contains("prefix=/opt/pmi\n"), "{description}");
}

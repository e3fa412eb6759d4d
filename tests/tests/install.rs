//! What scripts/install puts under a prefix works without the source tree, and goes away again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use pmi_tests::step::with_plugstack;
use pmi_tests::{Job, Outcome, source_tree};

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

/// Compiles a program of `tests` with what pkg-config says about an installed library.
fn compile_against(prefix: &Path, library: &str, source: &str, program: &Path) {
    let mut ask = Command::new("pkg-config");
    ask.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(["--cflags", "--libs", library]);
    let flags = run(&mut ask);
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(program).arg(source_tree().join("tests").join(source));
    run(compiler.args(flags.split_whitespace()));
}

/// Runs a program on three ranks with what is installed.
fn run_installed(prefix: &Path, program: &Path, arguments: &[&str]) -> Outcome {
    let job = Job::new(&prefix.join("bin/pmi-ssh")).args(["-n", "3"]).arg(program).args(arguments);
    job.env("LD_LIBRARY_PATH", prefix.join("lib")).run()
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

fn assert_independent(prefix: &Path, soname: &str) {
    let dynamic = run(Command::new("readelf").arg("-d").arg(prefix.join("lib").join(soname)));
    assert!(dynamic.contains(&format!("Library soname: [{soname}]")), "{dynamic}");
    assert!(!dynamic.contains("RPATH") && !dynamic.contains("RUNPATH"), "{dynamic}");
}

/// The installed plugin finds the installed programs.
fn assert_plugin_works(prefix: &Path, program: &Path) {
    compile_against(prefix, "pmi", "programs/exchange.c", program);
    let plugin = prefix.join("lib/slurm/spank_pmi.so");
    let slurm = with_plugstack(1, &format!("required {}", plugin.display()));
    let outcome = slurm.srun(&["--pmi-kvs", "-n3"]).arg(program).arg("3").run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "exchange: 3 ranks, all values right\n");
}

#[test]
fn where_slurms_headers_are_missing_the_plugin_is_left_out() {
    let place = tempfile::tempdir().expect("temporary directories can be made");
    let mut command = Command::new(source_tree().join("scripts/install"));
    command.arg("--prefix").arg(place.path()).env("SLURM_INCLUDE_DIR", "/nowhere");
    let output = command.output().expect("the script can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("leaving out lib/slurm/spank_pmi.so"), "{said}");
    assert!(place.path().join("bin/pmi-srun").exists());
    assert!(!place.path().join("lib/slurm/spank_pmi.so").exists());
}

#[test]
fn an_installation_works_and_can_be_removed() {
    let place = tempfile::tempdir().expect("temporary directories can be made");
    let all = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.path(), all).expect("it is ours");
    let prefix = place.path().join("prefix");
    install(&prefix, &[]);
    for file in [
        "bin/pmi-ssh",
        "bin/pmi-srun",
        "bin/pmi-exec",
        "bin/pmi-info",
        "bin/pmi-kvs-server",
        "libexec/pmi-task-prolog",
        "libexec/pmi-step-server",
        "lib/slurm/spank_pmi.so",
        "lib/libpmi.so",
        "lib/libpmi2.so",
        "include/pmi.h",
        "include/pmi2.h",
        "share/man/man1/pmi-exec.1",
        "share/man/man1/pmi-info.1",
        "share/man/man1/pmi-ssh.1",
        "share/man/man1/pmi-srun.1",
        "share/man/man7/libpmi2.7",
        "share/man/man8/spank_pmi.8",
    ] {
        assert!(prefix.join(file).exists(), "{file} is missing among {:?}", files_below(&prefix));
    }
    assert_independent(&prefix, "libpmi.so.0");
    assert_independent(&prefix, "libpmi2.so.0");

    let program = place.path().join("exchange");
    compile_against(&prefix, "pmi", "programs/exchange.c", &program);
    let outcome = run_installed(&prefix, &program, &["3"]);
    outcome.assert_success();
    assert_eq!(outcome.stdout, "exchange: 3 ranks, all values right\n");
    compile_against(&prefix, "pmi2", "c/pmi2/exchange.c", &program);
    run_installed(&prefix, &program, &[]).assert_each_says(3, ": exchanged");

    assert_plugin_works(&prefix, &place.path().join("exchange-pmi1"));

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

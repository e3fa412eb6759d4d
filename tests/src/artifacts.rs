//! The programs under test and the programs that test them, built before first use.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};

/// The top of the source tree.
pub fn source_tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate has a parent directory")
}

/// A program of this project, freshly built: `pmi-ssh` or `pmi-kvs-server`.
pub fn binary(name: &str) -> PathBuf {
    built().profile.join(name)
}

/// The directory that holds `libpmi.so.0` and `libpmi2.so.0`, freshly built, under the names that programs look for.
pub fn library_dir() -> PathBuf {
    built().profile.join("pmi-tests/lib")
}

/// A C program of `tests/programs`, compiled against our header and library.
pub fn c_program(name: &str) -> PathBuf {
    let include = source_tree().join("pmi-adapter/include");
    let library = library_dir();
    let options = [
        format!("-I{}", include.display()),
        format!("{}/libpmi.so.0", library.display()),
        format!("-Wl,-rpath,{}", library.display()),
    ];
    let source = source_tree().join("tests/programs").join(name).with_extension("c");
    compile("cc", &source, name, &options)
}

/// A C program of `tests/c`, compiled against our header and linked with one of our libraries: `libpmi.so.0` or
/// `libpmi2.so.0`. `name` may have a directory in front: `pmi2/exchange`.
pub fn conformance_program(name: &str, library: &str) -> PathBuf {
    let directory = library_dir();
    let options = [
        "-std=c99".to_string(),
        "-pthread".to_string(),
        format!("-I{}", source_tree().join("tests/c").display()),
        format!("-I{}", source_tree().join("pmi-adapter/include").display()),
        format!("{}/{library}", directory.display()),
        format!("-Wl,-rpath,{}", directory.display()),
    ];
    let source = source_tree().join("tests/c").join(name).with_extension("c");
    compile("cc", &source, &format!("conform-{}", name.replace('/', "-")), &options)
}

/// A directory under `target/venv`, filled by `scripts/test`.
pub fn venv(name: &str) -> PathBuf {
    let venv = source_tree().join("target/venv").join(name);
    assert!(
        venv.join("bin").is_dir(),
        "{} is missing: run scripts/test once, it installs it",
        venv.display()
    );
    venv
}

/// Compiles a C program to a program called `name`, once and again when its sources are newer. Parallel callers
/// may both compile: the result is moved into place.
pub(crate) fn compile(compiler: &str, source: &Path, name: &str, options: &[String]) -> PathBuf {
    let directory = built().profile.join("pmi-tests/bin");
    fs::create_dir_all(&directory).expect("the target directory is writable");
    let program = directory.join(name);
    if modified(&program) > newest(source.parent().expect("sources are in a directory")) {
        return program;
    }
    let thread = std::thread::current().id();
    let part = directory.join(format!("{name}.{}.{thread:?}", std::process::id()));
    let status = Command::new(compiler)
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&part)
        .arg(source)
        .args(options)
        .status()
        .unwrap_or_else(|error| {
            panic!("cannot run {compiler}: {error}; run scripts/test, it installs it")
        });
    assert!(status.success(), "{} does not compile", source.display());
    fs::rename(&part, &program).expect("the target directory is writable");
    program
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// When anything that programs are compiled from was last changed.
fn newest(sources: &Path) -> Option<SystemTime> {
    let headers = source_tree().join("pmi-adapter/include");
    let entries =
        [sources, &headers].into_iter().flat_map(|path| fs::read_dir(path).into_iter().flatten());
    entries.flatten().filter_map(|entry| modified(&entry.path())).max()
}

struct Built {
    profile: PathBuf,
}

/// Builds the workspace, once in a run of the tests.
fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile = profile_dir();
        build_once(&profile);
        Built { profile }
    })
}

/// `target/debug` or `target/release`: the test program itself is in `deps` below it.
fn profile_dir() -> PathBuf {
    let program = env::current_exe().expect("a test knows its own path");
    let deps = program.parent().expect("it is in a directory");
    deps.parent().expect("which is in the profile's directory").to_path_buf()
}

/// Test programs of one run share a note of the run that built last: asking cargo in each of them is slow.
fn build_once(profile: &Path) {
    let run = env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| format!("cargo {}", parent_id()));
    fs::create_dir_all(profile.join("pmi-tests")).expect("the target directory is writable");
    let lock =
        File::create(profile.join("pmi-tests/lock")).expect("the target directory is writable");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .expect("files can be locked");
    let note = profile.join("pmi-tests/built-by");
    if fs::read_to_string(&note).is_ok_and(|text| text == run) {
        return;
    }
    build(profile);
    ["libpmi", "libpmi2"].iter().for_each(|library| link_library(profile, library));
    fs::write(note, run).expect("the target directory is writable");
}

fn build(profile: &Path) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace", "--quiet"]).current_dir(source_tree());
    command
        .arg("--target-dir")
        .arg(profile.parent().expect("a profile is in the target directory"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo can be run");
    assert!(status.success(), "the workspace does not build: run cargo build --workspace");
}

/// Programs look for the soname, cargo writes the plain name.
fn link_library(profile: &Path, library: &str) {
    let directory = profile.join("pmi-tests/lib");
    fs::create_dir_all(&directory).expect("the target directory is writable");
    let link = directory.join(format!("{library}.so.0"));
    if fs::symlink_metadata(&link).is_err() {
        symlink(profile.join(format!("{library}.so")), &link)
            .expect("the target directory is writable");
    }
}

//! The C programs of `tests/c`, which find the library that they run with by `LD_LIBRARY_PATH`: ours, or another
//! implementation's.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::artifacts::library_dir;
use crate::{Job, Outcome, source_tree};

/// Where distributions put Slurm's libraries.
const SLURM_DIRS: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// A library that programs are linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// `libpmi.so.0`
    Pmi,
    /// `libpmi2.so.0`
    Pmi2,
}

impl Library {
    /// The name under which the dynamic linker looks for it.
    pub fn soname(self) -> &'static str {
        match self {
            Library::Pmi => "libpmi.so.0",
            Library::Pmi2 => "libpmi2.so.0",
        }
    }

    /// The directory of Slurm's library of that name.
    pub fn slurms(self) -> &'static Path {
        let mut places = SLURM_DIRS.iter().map(Path::new);
        let found = places.find(|place| place.join(self.soname()).exists());
        found.expect(
            "Slurm's library is missing: run scripts/test, or install libpmi0-dev and libpmi2-0-dev",
        )
    }
}

/// A compiled program of `tests/c`.
pub struct Program {
    path: PathBuf,
    _directory: TempDir,
}

impl Program {
    /// Compiles `tests/c/<name>.c`.
    pub fn compile(name: &str, library: Library) -> Program {
        let directory = tempfile::tempdir().expect("temporary directories can be made");
        let source = source_of(name);
        let path = directory.path().join(source.file_stem().expect("sources have names"));
        let output = Command::new("cc")
            .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread"])
            .arg("-I")
            .arg(source_tree().join("pmi-adapter/include"))
            .arg(source)
            .arg("-o")
            .arg(&path)
            .arg("-L")
            .arg(library_dir())
            .args([format!("-l:{}", library.soname()).as_str(), "-ldl"])
            .output()
            .expect("a C compiler is installed: scripts/test installs one");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Program { path, _directory: directory }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A process of its own, with the library of a directory.
    pub fn under(&self, library: &Path) -> Job {
        Job::new(&self.path).env("LD_LIBRARY_PATH", library)
    }

    /// A process of its own, with our library.
    pub fn under_ours(&self) -> Job {
        self.under(&library_dir())
    }

    /// As `ranks` ranks under `pmi-ssh`, with our library.
    pub fn ranks(&self, ranks: u32) -> Job {
        Job::of(ranks).arg(&self.path).env("LD_LIBRARY_PATH", library_dir())
    }
}

fn source_of(name: &str) -> PathBuf {
    source_tree().join("tests/c").join(name).with_extension("c")
}

/// Runs a program under our library alone; what it prints must be the file beside it.
pub fn compare_with_file(name: &str, library: Library) -> Outcome {
    let outcome = Program::compile(name, library).under_ours().run();
    outcome.assert_success();
    let file = source_of(name).with_extension("expected");
    let expected = std::fs::read_to_string(&file).expect("the expected output is readable");
    assert_eq!(outcome.stdout, expected, "{}", file.display());
    outcome
}

impl Outcome {
    /// Panics unless it ended with code 0 and each of `ranks` ranks has printed a line that ends so.
    pub fn assert_each_says(&self, ranks: u32, text: &str) -> &Outcome {
        let lines = self.assert_success().stdout.lines();
        let said = lines.filter(|line| line.ends_with(text)).count();
        assert_eq!(said, ranks as usize, "lines that end in {text:?}\n{}", self.stdout);
        self
    }
}

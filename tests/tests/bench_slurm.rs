//! The benchmark under Slurm runs from its beginning to its reports. How fast anything is, is not looked at.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use pmi_tests::{Job, binary, source_tree};

#[test]
fn ours_and_theirs_are_in_its_reports() {
    let target = tempfile::tempdir().expect("temporary directories can be made");
    // The testbed's users run what is compiled into it.
    fs::set_permissions(target.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let program = binary("pmi-srun");
    let built = program.parent().expect("it is in a directory");
    symlink(built, target.path().join("release")).expect("the directory is writable");
    let job = Job::new(Path::new("python3"));
    let job = job.arg("-B").arg(source_tree().join("tests/bench/slurm.py"));
    let job = job.arg("--target").arg(target.path()).arg("--venvs").arg("target/venv");
    let job = job.args(["--ranks", "4", "--reps", "1"]);
    job.args(["--way", "pmi-srun", "--way", "srun --mpi=pmi2"]).run().assert_success();
    let file = |name: &str| {
        fs::read_to_string(target.path().join("bench").join(name)).expect("it has been written")
    };
    let (report, values) = (file("slurm.md"), file("slurm.json"));
    assert!(report.contains("| 4     | srun --mpi=pmi2 | pmi-srun"), "{report}");
    assert!(report.ends_with("## Failures\n\nNone.\n"), "{report}");
    let values: serde_json::Value = serde_json::from_str(&values).expect("it is JSON");
    assert!(values["ratios"].as_array().is_some_and(|ratios| !ratios.is_empty()), "{values}");
}

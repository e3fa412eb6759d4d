//! What steps of each [`Way`] are tested with, and clusters with spank_pmi.so.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::slurm::ALICE;
use crate::{Job, Mpi, Slurm, Way, binary, c_program, until};

impl Way {
    /// A step with these options, as [`ALICE`]; append the program and its arguments.
    pub fn srun(self, options: &[&str]) -> Job {
        self.step(ALICE, options)
    }

    /// The beginning of a step's command in a script.
    pub fn words(self) -> String {
        match self {
            Way::Wrapper => binary("pmi-srun").display().to_string(),
            Way::Plugin => "srun --pmi-kvs".to_owned(),
        }
    }

    /// Every rank has each of its values, and the library says that all ranks of one host share it.
    pub fn exchange_on_one_host(self, options: &[&str]) {
        let job = self.srun(&["--nodes=1", "--ntasks=4"]).args(options);
        let outcome = job.arg(c_program("exchange")).arg("4").run();
        outcome.assert_success();
        assert_eq!(outcome.stdout, "exchange: 4 ranks, all values right\n");
    }

    /// An MPI program finds who shares memory with whom, and all results are right.
    pub fn hello(self, mpi: Mpi, options: &[&str], ranks: u32, largest_node: u32) {
        let outcome = mpi.hello(self.srun(options), ranks).run();
        outcome.assert_success();
        let line = format!("hello: {ranks} ranks, {largest_node} on a node, all results right\n");
        assert_eq!(outcome.stdout, line, "{}", outcome.stderr);
    }

    /// A batch script with `lines`, run to its end; returns what it printed.
    pub fn batch(self, options: &[&str], lines: &str) -> String {
        let job = self.cluster().login(Path::new("sbatch")).args(["--wait", "--output=printed"]);
        let (script, printed) = (job.directory().join("script"), job.directory().join("printed"));
        let text = format!("#!/bin/sh\n{lines}\necho end of script\n");
        fs::write(&script, text).expect("the job's directory is writable");
        let job = job.args(options).arg(&script).start();
        let printed = until("the script's output", || {
            fs::read_to_string(&printed).ok().filter(|text| text.contains("end of script"))
        });
        job.finish().assert_success();
        printed
    }
}

/// A cluster whose plugstack.conf has spank_pmi.so, `required` or `optional`, with these arguments.
pub fn with_plugin(hosts: u32, need: &str, arguments: &str) -> Slurm {
    let plugin = binary("libspank_pmi.so");
    with_plugstack(hosts, &format!("{need} {} {arguments}", plugin.display()))
}

/// A cluster with this line in plugstack.conf.
pub fn with_plugstack(hosts: u32, line: &str) -> Slurm {
    let directory = tempfile::tempdir().expect("temporary directories can be made");
    let file = directory.path().join("plugstack.conf");
    fs::write(&file, format!("{line}\n")).expect("it is writable");
    let file = file.to_str().expect("temporary files have plain names");
    // What the file says is copied into the testbed.
    Slurm::with_options(&["--hosts", &hosts.to_string(), "--plugstack", file])
}

/// A program of these lines of shell.
pub fn write_script(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).expect("the job's directory is writable");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
}

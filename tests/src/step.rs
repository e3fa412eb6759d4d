//! Steps of Slurm that have a server of ours, by each of the ways there are.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

use crate::artifacts::library_dir;
use crate::slurm::{ALICE, User};
use crate::{Job, Mpi, Slurm, binary, c_program, until};

/// Options of srun for sixteen ranks on each of four hosts.
pub const SIXTY_FOUR: [&str; 3] = ["--nodes=4", "--ntasks=64", "--ntasks-per-node=16"];

/// How a step gets its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `pmi-srun`.
    Wrapper,
    /// `srun --pmi-kvs`, with spank_pmi.so on all hosts.
    Plugin,
    /// Plain `srun`, with nothing of ours but the libraries, which the environment names to programs.
    Library,
}

impl Way {
    /// The cluster of four hosts on which all tests of this process have it.
    pub fn cluster(self) -> &'static Slurm {
        static WITH_PLUGIN: OnceLock<Slurm> = OnceLock::new();
        match self {
            Way::Wrapper | Way::Library => Slurm::shared_of_four(),
            Way::Plugin => WITH_PLUGIN.get_or_init(|| self.new_cluster()),
        }
    }

    /// Another cluster of four hosts that has it.
    pub fn new_cluster(self) -> Slurm {
        match self {
            Way::Wrapper | Way::Library => Slurm::of(4),
            Way::Plugin => with_plugin(4, "required", ""),
        }
    }

    /// A step with these options, as [`ALICE`]; append the program and its arguments.
    pub fn srun(self, options: &[&str]) -> Job {
        self.srun_as(ALICE, options)
    }

    /// The same as any user.
    pub fn srun_as(self, user: User, options: &[&str]) -> Job {
        self.srun_on(self.cluster(), user, options)
    }

    /// The same on a cluster that has it.
    pub fn srun_on(self, cluster: &Slurm, user: User, options: &[&str]) -> Job {
        match self {
            Way::Wrapper => cluster.login_as(user, &binary("pmi-srun")).args(options),
            Way::Plugin => cluster.srun_as(user, &["--pmi-kvs"]).args(options),
            Way::Library => name_libraries(cluster.srun_as(user, &["--mpi=none"]).args(options)),
        }
    }

    /// The beginning of a step's command in a script.
    pub fn words(self) -> String {
        match self {
            Way::Wrapper => binary("pmi-srun").display().to_string(),
            Way::Plugin => "srun --pmi-kvs".to_owned(),
            Way::Library => "srun --mpi=none".to_owned(),
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

/// By what Open MPI 4 and Intel MPI find our library.
fn name_libraries(job: Job) -> Job {
    let library = library_dir().join("libpmi.so.0");
    let job = job.env("I_MPI_PMI_LIBRARY", &library).env("LD_LIBRARY_PATH", library_dir());
    job.env("FLUX_JOB_ID", "1").env("FLUX_PMI_LIBRARY_PATH", library)
}

/// Makes a test of each function of one [`Way`], for each way named: `on_ways!([wrapper, library]; [a, b])`.
#[macro_export]
macro_rules! on_ways {
    ([$($way:ident),*]; $names:tt) => { $($crate::on_way!($way; $names);)* };
}

/// See [`on_ways`].
#[macro_export]
macro_rules! on_way {
    (wrapper; $names:tt) => { $crate::on_way!(wrapper, Wrapper; $names); };
    (plugin; $names:tt) => { $crate::on_way!(plugin, Plugin; $names); };
    (library; $names:tt) => { $crate::on_way!(library, Library; $names); };
    ($module:ident, $way:ident; [$($name:ident),* $(,)?]) => {
        mod $module {
            $(#[test] fn $name() { super::$name($crate::Way::$way); })*
        }
    };
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

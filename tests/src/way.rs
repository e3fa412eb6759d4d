//! The ways to start a step with PMI under Slurm.

use std::sync::OnceLock;

use crate::slurm::User;
use crate::step::with_plugin;
use crate::{Job, Slurm, binary};

/// Options of srun for sixteen ranks on each of four hosts.
pub const SIXTY_FOUR: [&str; 3] = ["--nodes=4", "--ntasks=64", "--ntasks-per-node=16"];

/// A way to start a step on the testbed of four hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `pmi-srun`.
    Wrapper,
    /// `srun --pmi-kvs`, with spank_pmi.so on all hosts.
    Plugin,
}

impl Way {
    /// A step with these options of srun, of this user; append the program and its arguments.
    pub fn step(self, user: User, options: &[&str]) -> Job {
        self.step_on(self.cluster(), user, options)
    }

    /// The cluster of four hosts that all tests of this process share: none of them may crash a host.
    pub fn cluster(self) -> &'static Slurm {
        static WITH_PLUGIN: OnceLock<Slurm> = OnceLock::new();
        match self {
            Way::Wrapper => Slurm::shared_of_four(),
            Way::Plugin => WITH_PLUGIN.get_or_init(|| self.cluster_of(4)),
        }
    }

    /// A cluster of this test's own.
    pub fn cluster_of(self, hosts: u32) -> Slurm {
        match self {
            Way::Wrapper => Slurm::of(hosts),
            Way::Plugin => with_plugin(hosts, "required", ""),
        }
    }

    /// The same on another testbed, which [`cluster_of`](Self::cluster_of) has made.
    pub fn step_on(self, slurm: &Slurm, user: User, options: &[&str]) -> Job {
        match self {
            Way::Wrapper => slurm.login_as(user, &binary("pmi-srun")).args(options),
            Way::Plugin => slurm.srun_as(user, &["--pmi-kvs"]).args(options),
        }
    }

    /// A step whose ranks are not told of our library.
    pub fn step_without_library(self, user: User, options: &[&str]) -> Job {
        static WITHOUT: OnceLock<Slurm> = OnceLock::new();
        match self {
            Way::Wrapper => self.step(user, &["--pmi-no-library"]).args(options),
            Way::Plugin => {
                let slurm = WITHOUT.get_or_init(|| with_plugin(4, "required", "no-library"));
                self.step_on(slurm, user, options)
            }
        }
    }

    /// Sixteen ranks on each of four hosts.
    pub fn step_of_64(self, user: User) -> Job {
        self.step(user, &SIXTY_FOUR)
    }
}

/// Makes a test of each function of one [`Way`], for every way: `on_every_way!(a, b)`.
#[macro_export]
macro_rules! on_every_way {
    ($($name:ident),* $(,)?) => {
        mod wrapper {
            $(#[test] fn $name() { super::$name($crate::Way::Wrapper); })*
        }
        mod plugin {
            $(#[test] fn $name() { super::$name($crate::Way::Plugin); })*
        }
    };
}

//! The ways to start a step with PMI under Slurm.

use crate::slurm::User;
use crate::{Job, Slurm, binary};

/// Options of srun for sixteen ranks on each of four hosts.
pub const SIXTY_FOUR: [&str; 3] = ["--nodes=4", "--ntasks=64", "--ntasks-per-node=16"];

/// A way to start a step on the testbed of four hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `pmi-srun`.
    Wrapper,
}

impl Way {
    /// A step with these options of srun, of this user; append the program and its arguments.
    pub fn step(self, user: User, options: &[&str]) -> Job {
        self.step_on(Slurm::shared_of_four(), user, options)
    }

    /// The same on another testbed.
    pub fn step_on(self, slurm: &Slurm, user: User, options: &[&str]) -> Job {
        match self {
            Way::Wrapper => slurm.login_as(user, &binary("pmi-srun")).args(options),
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
    };
}

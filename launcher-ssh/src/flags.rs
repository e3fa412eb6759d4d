//! The options of `pmi-ssh`, each defined once. The parser, `--help` and the man page read this table.

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// Number of ranks.
    Count,
    /// Working directory.
    Directory,
    /// A variable for one program.
    Set,
    /// Inherit all variables, for one program.
    InheritAll,
    /// Inherit no variables, for one program.
    InheritNone,
    /// Inherit some variables, for one program.
    InheritList,
    /// A variable for all programs.
    SetAll,
    /// Inherit all variables, for all programs.
    InheritAllGlobal,
    /// Inherit no variables, for all programs.
    InheritNoneGlobal,
    /// Inherit some variables, for all programs.
    InheritListGlobal,
    /// No variables that name our libpmi.so.
    NoLibrary,
    PmiPort,
    /// Labels before lines.
    Label,
    /// Universe size.
    UniverseSize,
    /// Address of the server.
    Bind,
    /// Ports of the server.
    Ports,
    /// Ceiling of the log.
    LogCeiling,
    /// Say what happens.
    Verbose,
    /// Print the help.
    Help,
    /// Print the man page.
    Man,
    /// Print the version.
    Version,
}

/// Part of the help that an option stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What to run.
    Program,
    /// Its environment.
    Environment,
    /// The job as a whole.
    Job,
    /// About `pmi-ssh` itself.
    Information,
}

impl Section {
    /// All sections in the order of the help.
    pub const ALL: [Section; 4] =
        [Section::Program, Section::Environment, Section::Job, Section::Information];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Section::Program => "For one program (before it, again after each ':')",
            Section::Environment => "For all programs",
            Section::Job => "The job",
            Section::Information => "Information",
        }
    }
}

/// An option.
pub struct Flag {
    /// What it does.
    pub id: Id,
    /// Its names without dashes; one dash and two mean the same.
    pub names: &'static [&'static str],
    /// Placeholders of its arguments.
    pub args: &'static [&'static str],
    /// Where the help shows it.
    pub section: Section,
    /// One line for `--help`.
    pub help: &'static str,
    /// What the man page adds to it; may be empty.
    pub more: &'static str,
}

impl Flag {
    /// Its name in messages.
    pub fn name(&self) -> String {
        format!("-{}", self.names[0])
    }
}

/// The option with this name, given without its dashes.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.names.contains(&name))
}

/// All options.
pub const FLAGS: &[Flag] = &[
    Flag {
        id: Id::Count,
        names: &["n", "np"],
        args: &["N"],
        section: Section::Program,
        help: "run N ranks of the program (default 1)",
        more: "",
    },
    Flag {
        id: Id::Directory,
        names: &["wdir", "wd"],
        args: &["DIR"],
        section: Section::Program,
        help: "run it in this directory",
        more: "A relative path of the program is relative to this directory.",
    },
    Flag {
        id: Id::Set,
        names: &["env"],
        args: &["NAME", "VALUE"],
        section: Section::Program,
        help: "set a variable (also -env NAME=VALUE)",
        more: "May be given several times. What is set here replaces what is inherited and what -genv \
               sets, but not the variables that make a process a rank (PMI_RANK and so on).",
    },
    Flag {
        id: Id::InheritAll,
        names: &["envall"],
        args: &[],
        section: Section::Program,
        help: "inherit all variables (default)",
        more: "Variables by which another starter names a rank or its PMI server are never inherited, \
               unless -envlist or -genvlist names them.",
    },
    Flag {
        id: Id::InheritNone,
        names: &["envnone"],
        args: &[],
        section: Section::Program,
        help: "inherit no variables",
        more: "",
    },
    Flag {
        id: Id::InheritList,
        names: &["envlist"],
        args: &["A,B,..."],
        section: Section::Program,
        help: "inherit these variables only",
        more: "",
    },
    Flag {
        id: Id::SetAll,
        names: &["genv"],
        args: &["NAME", "VALUE"],
        section: Section::Environment,
        help: "set a variable (also -genv NAME=VALUE)",
        more: "",
    },
    Flag {
        id: Id::InheritAllGlobal,
        names: &["genvall"],
        args: &[],
        section: Section::Environment,
        help: "as -envall",
        more: "",
    },
    Flag {
        id: Id::InheritNoneGlobal,
        names: &["genvnone"],
        args: &[],
        section: Section::Environment,
        help: "as -envnone",
        more: "",
    },
    Flag {
        id: Id::InheritListGlobal,
        names: &["genvlist"],
        args: &["A,B,..."],
        section: Section::Environment,
        help: "as -envlist",
        more: "",
    },
    Flag {
        id: Id::NoLibrary,
        names: &["no-pmi-library"],
        args: &[],
        section: Section::Environment,
        help: "do not show our libpmi.so to programs",
        more: "By default LD_LIBRARY_PATH (programs linked with libpmi.so.0), I_MPI_PMI_LIBRARY (Intel MPI) and \
               FLUX_JOB_ID with FLUX_PMI_LIBRARY_PATH (Open MPI 4) are set, so that these find it. A value given \
               with -env or -genv wins.",
    },
    Flag {
        id: Id::PmiPort,
        names: &["pmi-port"],
        args: &[],
        section: Section::Environment,
        help: "serve ranks on PMI_PORT instead of PMI_FD",
        more: "Programs with a PMI client of their own (MPICH, Intel MPI, NVSHMEM, OpenSHMEM) are served through a \
               descriptor that they inherit, PMI_FD. With this option they connect to a TCP port on loopback \
               (PMI_PORT) and show a secret number (PMI_ID): for programs behind a wrapper that closes descriptors.",
    },
    Flag {
        id: Id::Label,
        names: &["l", "prepend-rank"],
        args: &[],
        section: Section::Job,
        help: "put '[rank] ' before each line of output",
        more: "",
    },
    Flag {
        id: Id::UniverseSize,
        names: &["usize"],
        args: &["N"],
        section: Section::Job,
        help: "universe size that the ranks are told (default: their number)",
        more: "",
    },
    Flag {
        id: Id::Bind,
        names: &["bind"],
        args: &["ADDRESS"],
        section: Section::Job,
        help: "address of the key-value server (default 127.0.0.1)",
        more: "",
    },
    Flag {
        id: Id::Ports,
        names: &["port-range"],
        args: &["LOW-HIGH"],
        section: Section::Job,
        help: "UDP ports of which the server takes the first free one",
        more: "On other addresses than loopback the server also listens on TCP, on the same port.",
    },
    Flag {
        id: Id::LogCeiling,
        names: &["log-ceiling"],
        args: &["SIZE"],
        section: Section::Job,
        help: "most bytes that all keys and values may have (default 256M)",
        more: "A number of bytes, or one with K, M or G behind it (powers of 1024). Memory is taken only \
               as it is used.",
    },
    Flag {
        id: Id::Verbose,
        names: &["v", "verbose"],
        args: &[],
        section: Section::Job,
        help: "say what happens, and end with times and the server's statistics",
        more: "",
    },
    Flag {
        id: Id::Help,
        names: &["help", "h"],
        args: &[],
        section: Section::Information,
        help: "print this help",
        more: "",
    },
    Flag {
        id: Id::Man,
        names: &["man"],
        args: &[],
        section: Section::Information,
        help: "print the man page (pmi-ssh --man | man -l -)",
        more: "",
    },
    Flag {
        id: Id::Version,
        names: &["version", "V"],
        args: &[],
        section: Section::Information,
        help: "print the version",
        more: "",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_one_option() {
        for flag in FLAGS {
            for name in flag.names {
                assert_eq!(find(name).map(|found| found.id), Some(flag.id), "-{name}");
            }
        }
        assert!(find("").is_none() && find("-n").is_none());
    }
}

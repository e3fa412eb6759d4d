//! The man page: the options from the command line's definition, the rest from tables.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use crate::args::Args;

type Table = &'static [(&'static str, &'static str)];

const EXIT_STATUS: Table = &[
    (
        "0",
        "PMI_Init would work, or PROGRAM finds its peers without it (PMIx); the probe has worked.",
    ),
    ("1", "PMI_Init would fail; the probe has failed. The last line says why and what to do."),
    ("2", "The command line is wrong."),
    (
        "3",
        "PMI_Init would work, but PROGRAM cannot run, or would not join the job: its ranks would run as so many jobs \
         of one.",
    ),
];

const EXAMPLES: Table = &[
    ("pmi-info", "What would a program find that is started here?"),
    ("pmi-ssh -n 4 pmi-info ./program", "As rank of a job; and does the program join it?"),
    (
        "pmi-ssh -n 4 pmi-info exchange --count 10 --size 1000",
        "Every rank puts 10 values of 1000 bytes and gets those of all.",
    ),
    ("srun --mpi=pmi2 pmi-info barrier", "Barriers under another starter's server."),
];

const REPORT_KEYS: Table = &[
    ("form", "\"environment\"."),
    ("version", "Of pmi-info."),
    ("host, pid", "This process."),
    ("starter", "Who has started it: name, because. Null if none is known."),
    (
        "rank, size, local_rank, local_size, node",
        "Each with value, null if nobody has told it, and from, the variable; null for a default.",
    ),
    (
        "between",
        "The variables that another starter has set since ours; empty if none stands in between.",
    ),
    ("recorded", "Is there a PMI_KVS_PLACE to see that by?"),
    ("server", "Our server: addresses, job. Null if none is this process's."),
    (
        "backend",
        "What PMI_Init would join. taken: server, descriptor, port, alone, or null if it would fail. text: the same in \
         words. passed_by: why what comes first in the order was not taken.",
    ),
    (
        "libraries",
        "Which files the dynamic loader takes for libpmi.so.0 and libpmi2.so.0: name, path, by, owner, problem.",
    ),
    ("named", "Libraries that variables name: variable, path, owner, problem."),
    (
        "mpi",
        "MPI libraries by their programs in PATH: name, version, commands, binding. Empty for ranks above 0 without \
         --every-rank.",
    ),
    (
        "program",
        "Null, or path, problem, pmi (PMI libraries, as above), mpi (name, version, path, binding) of PROGRAM.",
    ),
    (
        "binding",
        "How such programs find their peers. how: descriptor (PMI_FD), port (PMI_PORT), library, pmix or none. joins: \
         do they become ranks of this job? text: the same in words.",
    ),
    ("notes", "What else may matter."),
    ("exit_code, advice", "As the process ends, and its last line."),
];

const PROBE_KEYS: Table = &[
    ("form", "\"barrier\", \"exchange\" or \"get\"."),
    ("version", "Of pmi-info."),
    ("job", "The kvsname of the job."),
    ("size, hosts", "Number of ranks, and of the hosts that they are on."),
    ("count, value_bytes", "As asked for. No value_bytes (null) for barrier."),
    ("backend", "What was joined, in words."),
    (
        "phases",
        "A list. phase: init, first_barrier (which waits for whoever starts last), put, commit, barrier, get, \
         finalize (rank 0's own only). calls: of each rank. min_ns, median_ns, max_ns: over the ranks, of all calls of \
         a rank together. slowest: rank and host. last, of barriers: who came last, that is, waited least.",
    ),
    ("slowest", "The rank with the most time outside of barriers, and its host."),
    ("exit_code, advice", "As the process ends, and its last line."),
    (
        "rank, host",
        "Of a rank that fails: it prints these beside form, version, exit_code and advice, and the job ends.",
    ),
];

/// Writes the page in roff.
pub fn print(out: &mut impl Write) -> io::Result<()> {
    let man = Man::new(Args::command());
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    section(out, "EXIT STATUS", EXIT_STATUS)?;
    section(out, "EXAMPLES", EXAMPLES)?;
    section(out, "KEYS OF THE JSON FORM OF A REPORT", REPORT_KEYS)?;
    section(out, "KEYS OF THE JSON FORM OF A PROBE", PROBE_KEYS)?;
    see_also(out)
}

fn section(out: &mut impl Write, title: &str, table: Table) -> io::Result<()> {
    let mut page = Roff::new();
    page.control("SH", [title]);
    for (head, text) in table {
        page.control("TP", []).text([bold(*head)]).text([roman(*text)]);
    }
    page.to_writer(out)
}

fn see_also(out: &mut impl Write) -> io::Result<()> {
    let mut page = Roff::new();
    page.control("SH", ["SEE ALSO"])
        .text([roman("pmi-ssh(1), pmi-srun(1), pmi-exec(1), pmi-kvs-server(1)")]);
    page.to_writer(out)
}

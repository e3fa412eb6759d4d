//! `--help`, `--version` and the man page, made from the table of options.

use roff::{Roff, bold, italic, roman};

use crate::flags::{FLAGS, Flag, Section};

const SYNOPSIS: &str = "pmi-ssh [options] program [arguments] [: [options] program [arguments]]...";

const SUMMARY: &str = "run a parallel job";

const DESCRIPTION: [&str; 4] = [
    "pmi-ssh starts the ranks of a parallel job on this host, with the words of mpiexec. Each rank finds its \
     number, the size of the job and the job's key-value server in its environment; libpmi.so, or whatever \
     else speaks with that server, exchanges the ranks' addresses through it.",
    "Several programs are separated by ':'; ranks are numbered in their order. A program without a slash is \
     looked for in PATH, as a shell does.",
    "Standard input goes to rank 0. Standard output and standard error of all ranks are merged line by line. \
     A line of more than 64 KiB comes in pieces; on a terminal an unfinished line is shown after a quarter of \
     a second.",
    "Each rank is a process group of its own. Whatever it leaves behind is killed when the job ends, also \
     when pmi-ssh itself is killed.",
];

/// Variables of a rank, as the man page explains them.
const VARIABLES: [(&str, &str); 12] = [
    ("PMI_RANK, PMI_SIZE", "Number of the rank, from 0, and number of ranks."),
    ("PMI_LOCAL_RANK, PMI_LOCAL_SIZE", "The same among the ranks of this host."),
    ("PMI_APPNUM", "Number of the program among those of the command line, from 0."),
    ("PMI_UNIVERSE_SIZE", "See -usize."),
    ("PMI_KVS_SERVER", "Address of the key-value server, host:port."),
    ("PMI_KVS_JOB", "Name of the job, which is the default kvsname."),
    ("PMI_KVS_SECRET", "Key of the job, 64 hex digits."),
    ("PMI_KVS_LOG_CEILING", "See -log-ceiling; set if it is not the default."),
    ("I_MPI_PMI_LIBRARY", "Path of libpmi.so, for Intel MPI. See -no-pmi-library."),
    ("FLUX_JOB_ID, FLUX_PMI_LIBRARY_PATH", "The same for Open MPI 4."),
    (
        "PMI_DEBUG",
        "Passed on: the ranks' libpmi.so and the server trace what they do to standard error.",
    ),
    ("PMI_TIMEOUT", "Passed on: seconds that a call of a rank may wait."),
];

const EXIT_STATUS: [(&str, &str); 6] = [
    ("0", "Every rank exited with code 0, and finalized if it had initialized PMI."),
    (
        "n, 128 + signal",
        "Exit code of the rank that failed first, or the signal that killed it, or the code of PMI_Abort. \
         The other ranks are told, get SIGTERM after half a second, and SIGKILL two seconds later.",
    ),
    ("128 + signal", "pmi-ssh got this signal, and a rank failed thereafter."),
    ("1", "pmi-ssh itself failed, or a rank exited with code 0 between PMI_Init and PMI_Finalize."),
    ("2", "The command line is wrong."),
    ("126, 127", "A program cannot be executed, or is not found."),
];

const SIGNALS: &str = "SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGTSTP, SIGCONT, SIGUSR1 and SIGUSR2 are passed on to all ranks. Ranks \
     that are still there ten seconds after SIGTERM or SIGHUP are killed; so are all when a second signal that \
     ends a job comes within three seconds of the first. After SIGTSTP pmi-ssh stops itself.";

const EXAMPLES: [(&str, &str); 3] = [
    ("pmi-ssh -n 4 ./prog input", "Four ranks."),
    ("pmi-ssh -n 1 ./master : -n 7 -wdir /tmp ./worker", "Eight ranks of two programs."),
    (
        "pmi-ssh -l -n 4 sh -c 'echo $PMI_RANK of $PMI_SIZE'",
        "Each line with the rank it comes from.",
    ),
];

/// The text of `--version`.
pub fn version() -> String {
    format!("pmi-ssh {}", env!("CARGO_PKG_VERSION"))
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = format!("{} - {SUMMARY}\n\nUsage: {SYNOPSIS}\n", version());
    for section in Section::ALL {
        text += &format!("\n{}:\n", section.title());
        for flag in FLAGS.iter().filter(|flag| flag.section == section) {
            text += &format!("  {:<24} {}\n", usage(flag), flag.help);
        }
    }
    text + "\nOptions may be written with one dash or two. More is in the man page: pmi-ssh --man | man -l -\n"
}

fn usage(flag: &Flag) -> String {
    let names: Vec<_> = flag.names.iter().map(|name| format!("-{name}")).collect();
    [names.join(", "), flag.args.join(" ")].join(" ").trim_end().to_owned()
}

/// The man page in roff.
pub fn page() -> String {
    let mut page = Roff::new();
    page.control("TH", ["PMI-SSH", "1", "", &version(), "pmi-adapter"]);
    page.control("SH", ["NAME"]).text([roman(format!("pmi-ssh - {SUMMARY}"))]);
    page.control("SH", ["SYNOPSIS"]).text([roman(SYNOPSIS)]);
    page.control("SH", ["DESCRIPTION"]);
    for paragraph in DESCRIPTION {
        page.control("PP", []).text([roman(paragraph)]);
    }
    page.control("SH", ["OPTIONS"]).text([roman("One dash or two mean the same.")]);
    for section in Section::ALL {
        page.control("SS", [section.title()]);
        FLAGS
            .iter()
            .filter(|flag| flag.section == section)
            .for_each(|flag| option(&mut page, flag));
    }
    definitions(&mut page, "ENVIRONMENT OF A RANK", &VARIABLES);
    definitions(&mut page, "EXIT STATUS", &EXIT_STATUS);
    page.control("SH", ["SIGNALS"]).text([roman(SIGNALS)]);
    definitions(&mut page, "EXAMPLES", &EXAMPLES);
    page.control("SH", ["SEE ALSO"]).text([bold("pmi-kvs-server"), roman("(1)")]);
    page.render()
}

fn option(page: &mut Roff, flag: &Flag) {
    let mut head = Vec::new();
    for (index, name) in flag.names.iter().enumerate() {
        head.extend((index > 0).then(|| roman(", ")));
        head.push(bold(format!("-{name}")));
    }
    for arg in flag.args {
        head.extend([roman(" "), italic(*arg)]);
    }
    let more = if flag.more.is_empty() { String::new() } else { format!(" {}", flag.more) };
    page.control("TP", []).text(head).text([roman(format!("{}.{more}", capitalized(flag.help)))]);
}

fn definitions(page: &mut Roff, title: &str, list: &[(&str, &str)]) {
    page.control("SH", [title]);
    for (head, text) in list {
        page.control("TP", []).text([bold(*head)]).text([roman(*text)]);
    }
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_man_page_name_every_option() {
        let (help, page) = (help(), page().replace("\\-", "-"));
        for flag in FLAGS {
            assert!(help.contains(&usage(flag)) && help.contains(flag.help), "{}", flag.name());
            assert!(page.contains(&format!("\\fB-{}\\fR", flag.names[0])), "{}", flag.name());
        }
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    }
}

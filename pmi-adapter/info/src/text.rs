//! The report as text: one fact per line, the last line the most important.

use std::fmt::{Display, Write};

use crate::loader::Library;
use crate::machine::Installed;
use crate::program::Program;
use crate::report::{Report, Told};

/// Columns before the facts.
const INDENT: usize = 14;

/// The report, or only its last line with the rank in front.
pub fn of(report: &Report, whole: bool) -> String {
    if !whole {
        return format!("pmi-info: {}: {}\n", report.host, report.advice);
    }
    let mut page = Page(String::new());
    head(&mut page, report);
    place(&mut page, report);
    server(&mut page, report);
    libraries(&mut page, report);
    report.mpi.iter().for_each(|mpi| installed(&mut page, mpi));
    report.program.iter().for_each(|program| linked(&mut page, program));
    report.notes.iter().for_each(|note| page.line("note", note));
    page.0 + &format!("pmi-info: {}\n", report.advice)
}

struct Page(String);

impl Page {
    fn line(&mut self, name: &str, fact: impl Display) {
        let _ = writeln!(self.0, "{name:INDENT$}{fact}");
    }
}

fn head(page: &mut Page, report: &Report) {
    page.line("pmi-info", format!("{}, process {} on {}", report.version, report.pid, report.host));
    match &report.starter {
        Some(starter) => page.line("starter", format!("{} ({})", starter.name, starter.because)),
        None => page.line("starter", "none is known"),
    }
}

fn place(page: &mut Page, report: &Report) {
    page.line("rank", told(&report.rank));
    page.line("size", told(&report.size));
    page.line("local rank", told(&report.local_rank));
    page.line("local size", told(&report.local_size));
    page.line("node", told(&report.node));
    page.line("in between", between(report));
}

/// `3, by PMI_RANK`.
fn told<T: Display>(told: &Told<T>) -> String {
    match (&told.value, told.from) {
        (Some(value), Some(variable)) => format!("{value}, by {variable}"),
        (Some(value), None) => format!("{value}, no variable says so"),
        (None, _) => "not told".into(),
    }
}

fn between(report: &Report) -> String {
    match report.between.as_slice() {
        [] if report.recorded => "no other starter: all is as PMI_KVS_PLACE has it".into(),
        [] => "unknown: there is no PMI_KVS_PLACE to compare with".into(),
        changed => format!("another starter, or a script, which has set {}", changed.join(", ")),
    }
}

fn server(page: &mut Page, report: &Report) {
    match &report.server {
        Some(server) => page.line(
            "our server",
            format!("{}, job {}; its key is set", server.addresses.join(", "), server.job),
        ),
        None => page.line("our server", "none for this process"),
    }
    page.line("PMI_Init", report.backend.text.as_deref().unwrap_or("would fail"));
    report.backend.passed_by.iter().for_each(|reason| page.line("", format!("because {reason}")));
}

fn libraries(page: &mut Page, report: &Report) {
    report.libraries.iter().for_each(|library| page.line(&library.name, file(library)));
    for named in &report.named {
        let owner = named.owner.as_deref().or(named.problem.as_deref()).unwrap_or_default();
        page.line("named", format!("{}={}: {owner}", named.variable, named.path.display()));
    }
}

fn file(library: &Library) -> String {
    let problem =
        library.problem.as_ref().map(|problem| format!("; {problem}")).unwrap_or_default();
    match (&library.path, &library.owner, library.by) {
        (Some(path), Some(owner), Some(by)) => {
            format!("{owner}, {} (by {by}){problem}", path.display())
        }
        _ => library.problem.clone().unwrap_or_default(),
    }
}

fn installed(page: &mut Page, mpi: &Installed) {
    let commands: Vec<_> = mpi.commands.iter().map(|path| path.display().to_string()).collect();
    page.line(
        "MPI here",
        format!("{}: {}", named_version(mpi.name, &mpi.version), commands.join(", ")),
    );
    page.line("", format!("binds: {}", mpi.binding.text));
}

fn named_version(name: &str, version: &Option<String>) -> String {
    match version {
        Some(version) => format!("{name} {version}"),
        None => name.to_owned(),
    }
}

fn linked(page: &mut Page, program: &Program) {
    page.line("program", program.path.display());
    program
        .pmi
        .iter()
        .for_each(|library| page.line("", format!("{}: {}", library.name, file(library))));
    for mpi in &program.mpi {
        page.line("", format!("{}, {}", named_version(mpi.name, &mpi.version), mpi.path.display()));
        page.line("", format!("binds: {}", mpi.binding.text));
    }
}

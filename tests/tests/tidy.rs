//! The rules of the house, as far as a program can check them. Each failure lists every place.

use std::collections::BTreeSet;
use std::process::Command;

use pmi_tests::tree::{Source, quoted, rooms, source, sources, words};
use pmi_tests::{binary, source_tree};

const LINES_MAX: usize = 600;
/// How far above an unsafe block its reason may stand.
const REASON_LINES: usize = 8;

fn assert_none(what: &str, places: Vec<String>) {
    assert!(places.is_empty(), "{what}:\n  {}", places.join("\n  "));
}

fn rust_sources() -> Vec<Source> {
    sources().into_iter().filter(|source| source.is(&[".rs"])).collect()
}

/// A line of Rust without its string literals and its comment.
fn code_of(line: &str) -> String {
    let without_strings: String = line.split('"').step_by(2).collect();
    without_strings.split("//").next().unwrap_or_default().to_string()
}

fn is_unsafe(line: &str) -> bool {
    words(&code_of(line)).any(|word| word == "unsafe")
}

#[test]
fn no_file_is_over_long() {
    let checked = sources().into_iter().filter(|source| {
        source.is(&[".rs", ".sh", ".c", ".h", ".py"]) || source.path.starts_with("scripts/")
    });
    let long = checked.filter(|source| source.text.lines().count() > LINES_MAX);
    let found =
        long.map(|source| format!("{} has {} lines", source.path, source.text.lines().count()));
    assert_none(&format!("files over {LINES_MAX} lines"), found.collect());
}

#[test]
fn nothing_is_left_to_do_without_an_issue() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let is_open = |line: &str| {
        marks
            .iter()
            .any(|mark| words(line).any(|w| w == *mark) && !line.contains(&format!("{mark}(#")))
    };
    let mut places = Vec::new();
    for source in sources() {
        let open = source.lines().filter(|(_, line)| is_open(line));
        places.extend(
            open.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())),
        );
    }
    assert_none("marks of unfinished work, which need an issue number in the form (#12)", places);
}

/// The rooms that ARCHITECTURE.md allows unsafe code in.
fn unsafe_rooms() -> Vec<String> {
    let architecture = source("ARCHITECTURE.md").text;
    let (_, after) =
        architecture.split_once("Unsafe code lives in").expect("the unsafe rooms are named");
    let paragraph = after.split("\n\n").next().unwrap_or_default();
    quoted(paragraph).map(str::to_string).collect()
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    let rooms = unsafe_rooms();
    let allowed = |source: &Source| rooms.iter().any(|room| source.path.starts_with(room.as_str()));
    let mut places = Vec::new();
    for source in rust_sources().iter().filter(|source| !allowed(source)) {
        let lines = source.lines().filter(|(_, line)| is_unsafe(line));
        places.extend(lines.map(|(number, _)| format!("{}:{number}", source.path)));
    }
    assert_none("unsafe code outside the rooms that ARCHITECTURE.md names", places);
}

#[test]
fn unsafe_rooms_exist() {
    let missing = unsafe_rooms().into_iter().filter(|room| !source_tree().join(room).exists());
    assert_none("unsafe rooms named in ARCHITECTURE.md that do not exist", missing.collect());
}

/// Blocks and impls need a reason where they stand; functions state their contract in their documentation.
fn needs_reason(line: &str) -> bool {
    is_unsafe(line) && (code_of(line).contains("unsafe {") || code_of(line).contains("unsafe impl"))
}

#[test]
fn every_unsafe_block_has_its_reason() {
    let mut places = Vec::new();
    for source in rust_sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, _) in source.lines().filter(|(_, line)| needs_reason(line)) {
            let above = &lines[number.saturating_sub(REASON_LINES)..number];
            if !above.iter().any(|line| line.contains("SAFETY:")) {
                places.push(format!("{}:{number}", source.path));
            }
        }
    }
    assert_none("unsafe blocks without a SAFETY reason", places);
}

/// Directories of all packages.
fn packages() -> Vec<String> {
    let manifests = sources().into_iter().filter(|source| source.is(&["/Cargo.toml"]));
    let packages = manifests.filter(|manifest| manifest.text.contains("[package]"));
    packages.map(|manifest| manifest.path.trim_end_matches("/Cargo.toml").to_string()).collect()
}

#[test]
fn every_package_has_its_room() {
    let rooms: Vec<String> = rooms().into_iter().map(|room| room.directory).collect();
    let missing = packages().into_iter().filter(|package| !rooms.contains(package));
    assert_none("packages that the room map in ARCHITECTURE.md does not name", missing.collect());
    let empty =
        rooms.iter().filter(|room| !source_tree().join(room).join("Cargo.toml").exists()).cloned();
    assert_none("rooms of the map that do not exist", empty.collect());
}

/// The packages of this workspace that a manifest depends on, tests included, as directories.
fn imports_of(package: &str) -> Vec<String> {
    let manifest = source(&format!("{package}/Cargo.toml")).text;
    let workspace = source("Cargo.toml").text;
    let dependencies = manifest.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    let ours = dependencies.filter_map(|name| {
        let line =
            workspace.lines().find(|line| line.starts_with(&format!("{name} = {{ path =")))?;
        line.split('"').nth(1).map(str::to_string)
    });
    ours.collect()
}

#[test]
fn imports_point_one_way() {
    let mut places = Vec::new();
    for room in rooms().iter().filter(|room| room.imports != "everything") {
        for import in imports_of(&room.directory) {
            let short = import.rsplit('/').next().unwrap_or(&import);
            let allowed =
                room.imports.split(',').any(|name| name.trim().split(' ').next() == Some(short));
            if !allowed {
                places.push(format!(
                    "{} imports {import}, but may import: {}",
                    room.directory, room.imports
                ));
            }
        }
    }
    assert_none("imports against the room map in ARCHITECTURE.md", places);
}

/// Targets of links, without those that lead out of the tree.
fn links(markdown: &Source) -> Vec<&str> {
    let targets = markdown.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.filter_map(|target| target.split('#').next()).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut places = Vec::new();
    for markdown in sources().iter().filter(|source| source.is(&[".md"])) {
        let file = source_tree().join(&markdown.path);
        let directory = file.parent().expect("files are in directories");
        let broken = links(markdown).into_iter().filter(|target| !directory.join(target).exists());
        places.extend(broken.map(|target| format!("{} links to {target}", markdown.path)));
    }
    assert_none("links that lead nowhere", places);
}

/// What a program of ours prints when asked.
fn ask(program: &str, flag: &str) -> String {
    let output = Command::new(binary(program)).arg(flag).output().expect("our programs can be run");
    assert!(output.status.success(), "{program} {flag} failed");
    String::from_utf8(output.stdout).expect("and print UTF-8")
}

/// The flags at the start of lines: `-n, --np N` gives `-n` and `--np`.
fn flags_of_help(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
        let flags =
            line.split([' ', ',', '=']).take_while(|word| word.is_empty() || word.starts_with('-'));
        found.extend(flags.filter(|word| word.len() > 1).map(str::to_string));
    }
    found
}

/// Every word of a manual page that starts with a dash.
fn flags_of_man(text: &str) -> BTreeSet<String> {
    let plain =
        text.replace("\\-", "-").replace("\\fB", " ").replace("\\fI", " ").replace("\\fR", " ");
    let words = plain.split([' ', '\n', ',', '=', '[', ']', '|', '(', ')', '"']);
    words.map(|word| word.trim_end_matches(['.', ':', ';']).to_string()).collect()
}

fn assert_flags_documented(program: &str) {
    assert_documented(program, "--help", "--man");
}

fn assert_documented(program: &str, help: &str, man: &str) {
    let flags = flags_of_help(&ask(program, help));
    assert!(
        flags.iter().any(|flag| flag.ends_with("-help")),
        "{program} --help lists its flags: {flags:?}"
    );
    let man = flags_of_man(&ask(program, man));
    let missing = flags.into_iter().filter(|flag| !man.contains(flag));
    assert_none(
        &format!("flags of {program} that its manual page does not have"),
        missing.collect(),
    );
}

#[test]
fn every_flag_of_the_launcher_is_in_its_manual_page() {
    assert_flags_documented("pmi-ssh");
}

#[test]
fn every_flag_of_the_wrapper_of_srun_is_in_its_manual_page() {
    assert_documented("pmi-srun", "--pmi-help", "--pmi-man");
}

#[test]
fn every_flag_of_pmi_exec_is_in_its_manual_page() {
    assert_flags_documented("pmi-exec");
}

#[test]
fn every_flag_of_the_server_is_in_its_manual_page() {
    assert_flags_documented("pmi-kvs-server");
}

#[test]
fn every_flag_of_pmi_info_is_in_its_manual_page() {
    assert_flags_documented("pmi-info");
}

/// A source without the test module at its end.
fn without_tests(source: &Source) -> &str {
    source.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// String literals of the program's own sources, tests and comments left out.
fn literals() -> BTreeSet<String> {
    let is_test =
        |source: &Source| source.path.split('/').any(|part| part == "tests" || part == "tests.rs");
    let mut found = BTreeSet::new();
    for source in rust_sources().iter().filter(|source| !is_test(source)) {
        let lines =
            without_tests(source).lines().filter(|line| !line.trim_start().starts_with("//"));
        found.extend(lines.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_string));
    }
    found
}

fn is_variable(text: &str) -> bool {
    let upper = |character: char| {
        character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_'
    };
    text.contains('_') && !text.ends_with('_') && text.chars().all(upper)
}

/// Names that our header defines: return codes, which messages mention too.
fn header_names() -> BTreeSet<String> {
    let header = source("pmi-adapter/include/pmi.h").text;
    words(&header).map(str::to_string).collect()
}

/// The variables in the first column of the tables in README.md.
fn documented_variables() -> BTreeSet<String> {
    let readme = source("README.md").text;
    let cells = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1));
    cells.flat_map(quoted).filter(|name| is_variable(name)).map(str::to_string).collect()
}

#[test]
fn every_environment_variable_is_documented() {
    let (documented, constants) = (documented_variables(), header_names());
    let used = literals().into_iter().filter(|text| text.starts_with("PMI_") && is_variable(text));
    let missing = used.filter(|name| !documented.contains(name) && !constants.contains(name));
    assert_none("environment variables that README.md does not document", missing.collect());
}

#[test]
fn every_documented_environment_variable_is_real() {
    let literals = literals();
    let unreal = documented_variables().into_iter().filter(|name| !literals.contains(name));
    assert_none(
        "environment variables in README.md that no source reads or sets",
        unreal.collect(),
    );
}

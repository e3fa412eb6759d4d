//! From arguments to the description of a job. Parsing never acts.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use pmi_launch::spec::{App, Inherit, JobSpec, LOG_CEILING_MAX, LOG_CEILING_MIN, SIZE_MAX};

use crate::flags::{self, Flag, Id};

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Run a job.
    Run(JobSpec),
    /// Print the help.
    Help,
    /// Print the man page.
    Man,
    /// Print the version.
    Version,
}

/// What is wrong with the command line.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; try 'pmi-ssh --help'", self.0)
    }
}

impl std::error::Error for UsageError {}

type Parsed<T> = Result<T, UsageError>;

fn wrong<T>(text: impl Into<String>) -> Parsed<T> {
    Err(UsageError(text.into()))
}

/// Parses the arguments that follow the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Parsed<Invocation> {
    let mut parser = Parser {
        args: args.into_iter().peekable(),
        job: JobSpec::new("pmi-ssh"),
        global: Scope::default(),
        local: Scope::default(),
        apps: Vec::new(),
    };
    while let Some(arg) = parser.args.next() {
        if let Some(information) = parser.take(arg)? {
            return Ok(information);
        }
    }
    parser.finish().map(Invocation::Run)
}

/// Options that hold for one program, or for all.
#[derive(Default)]
struct Scope {
    count: Option<u32>,
    wdir: Option<PathBuf>,
    inherit: Option<Inherit>,
    set: Vec<(OsString, OsString)>,
}

/// A program with its own options.
struct Program {
    scope: Scope,
    words: Vec<OsString>,
}

struct Parser<I: Iterator<Item = OsString>> {
    args: Peekable<I>,
    job: JobSpec,
    global: Scope,
    local: Scope,
    apps: Vec<Program>,
}

impl<I: Iterator<Item = OsString>> Parser<I> {
    /// Takes one option, or a program with everything up to the next colon.
    fn take(&mut self, arg: OsString) -> Parsed<Option<Invocation>> {
        if arg == ":" {
            return wrong("there is no program before ':'");
        }
        match arg.as_encoded_bytes() {
            [b'-', ..] => self.take_option(&arg),
            _ => {
                self.take_program(arg);
                Ok(None)
            }
        }
    }

    fn take_program(&mut self, program: OsString) {
        let mut words = vec![program];
        words.extend(std::iter::from_fn(|| self.args.next_if(|arg| arg != ":")));
        self.apps.push(Program { scope: std::mem::take(&mut self.local), words });
        // A colon with nothing behind it is found missing its program at the end.
        if self.args.next().is_some() && self.args.peek().is_none() {
            self.apps.push(Program { scope: Scope::default(), words: Vec::new() });
        }
    }

    fn take_option(&mut self, arg: &OsStr) -> Parsed<Option<Invocation>> {
        let name = arg.to_str().map(|text| text.strip_prefix("--").unwrap_or(&text[1..]));
        let Some(flag) = name.and_then(flags::find) else {
            return wrong(format!("unknown option '{}'", arg.display()));
        };
        match flag.id {
            Id::Help => return Ok(Some(Invocation::Help)),
            Id::Man => return Ok(Some(Invocation::Man)),
            Id::Version => return Ok(Some(Invocation::Version)),
            Id::Count => self.local.count = Some(self.number(flag)?),
            Id::Directory => self.local.wdir = Some(self.value(flag, 0)?.into()),
            Id::Set => {
                let pair = self.pair(flag)?;
                self.local.set.push(pair);
            }
            Id::InheritAll => self.local.inherit = Some(Inherit::All),
            Id::InheritNone => self.local.inherit = Some(Inherit::Nothing),
            Id::InheritList => self.local.inherit = Some(self.list(flag)?),
            Id::SetAll => {
                let pair = self.pair(flag)?;
                self.global.set.push(pair);
            }
            Id::InheritAllGlobal => self.global.inherit = Some(Inherit::All),
            Id::InheritNoneGlobal => self.global.inherit = Some(Inherit::Nothing),
            Id::InheritListGlobal => self.global.inherit = Some(self.list(flag)?),
            Id::NoLibrary => self.job.presets = false,
            Id::PmiPort => self.job.pmi_port = true,
            Id::Label => self.job.labels = true,
            Id::UniverseSize => self.job.universe_size = Some(self.number(flag)?),
            Id::Bind => {
                self.job.bind =
                    self.parsed(flag, "an IPv4 or IPv6 address", |text| text.parse().ok())?
            }
            Id::Ports => {
                self.job.ports = Some(self.parsed(flag, "LOW-HIGH, as 5000-5100", port_range)?)
            }
            Id::LogCeiling => self.job.log_ceiling = self.size(flag)?,
            Id::Verbose => self.job.verbose = true,
        }
        Ok(None)
    }

    /// The option's `index`-th argument.
    fn value(&mut self, flag: &Flag, index: usize) -> Parsed<OsString> {
        let missing = || UsageError(format!("{} needs {}", flag.name(), flag.args[index]));
        self.args.next().ok_or_else(missing)
    }

    fn parsed<T>(
        &mut self,
        flag: &Flag,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Parsed<T> {
        let value = self.value(flag, 0)?;
        value.to_str().and_then(read).ok_or_else(|| {
            UsageError(format!("{} expects {expected}, not '{}'", flag.name(), value.display()))
        })
    }

    fn number(&mut self, flag: &Flag) -> Parsed<u32> {
        let read = |text: &str| text.parse().ok().filter(|number| (1..=SIZE_MAX).contains(number));
        self.parsed(flag, &format!("a whole number from 1 to {SIZE_MAX}"), read)
    }

    fn size(&mut self, flag: &Flag) -> Parsed<u64> {
        let limits = LOG_CEILING_MIN..=LOG_CEILING_MAX;
        let expected = format!(
            "a number of bytes from {LOG_CEILING_MIN} to {LOG_CEILING_MAX}, as 1000000 or 64M"
        );
        self.parsed(flag, &expected, |text| bytes(text).filter(|size| limits.contains(size)))
    }

    fn pair(&mut self, flag: &Flag) -> Parsed<(OsString, OsString)> {
        let first = self.value(flag, 0)?;
        let (name, value) = match split_assignment(&first) {
            Some(pair) => pair,
            None => (first, self.value(flag, 1)?),
        };
        match name.is_empty() {
            true => wrong(format!("{} needs the name of a variable", flag.name())),
            false => Ok((name, value)),
        }
    }

    fn list(&mut self, flag: &Flag) -> Parsed<Inherit> {
        let value = self.value(flag, 0)?;
        let names = value.as_encoded_bytes().split(|byte| *byte == b',');
        let names = names.filter(|name| !name.is_empty()).map(os_string);
        Ok(Inherit::Only(names.collect()))
    }

    fn finish(mut self) -> Parsed<JobSpec> {
        if self.apps.is_empty() {
            return wrong("there is no program to run");
        }
        let left = self.local.count.is_some() || self.local.wdir.is_some();
        let left = left || self.local.inherit.is_some() || !self.local.set.is_empty();
        if left || self.apps.iter().any(|app| app.words.is_empty()) {
            return wrong("there is no program after the last ':'");
        }
        let global = &self.global;
        self.job.apps = self.apps.drain(..).map(|program| app(program, global)).collect();
        let total: u64 = self.job.apps.iter().map(|app| u64::from(app.count)).sum();
        match total > u64::from(SIZE_MAX) {
            true => wrong(format!("{total} ranks are more than a job may have ({SIZE_MAX})")),
            false => Ok(self.job),
        }
    }
}

fn app(program: Program, global: &Scope) -> App {
    let Program { scope, words } = program;
    let mut words = words.into_iter();
    App {
        count: scope.count.unwrap_or(1),
        program: words.next().unwrap_or_default(),
        args: words.collect(),
        wdir: scope.wdir,
        inherit: scope.inherit.or_else(|| global.inherit.clone()).unwrap_or_default(),
        set: global.set.iter().cloned().chain(scope.set).collect(),
    }
}

/// `NAME=VALUE` in its parts.
fn split_assignment(text: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = text.as_encoded_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    Some((os_string(&bytes[..at]), os_string(&bytes[at + 1..])))
}

fn os_string(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low > 0 && low <= high).then_some(low..=high)
}

fn bytes(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Parsed<Invocation> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn job(line: &str) -> JobSpec {
        match parse_line(line) {
            Ok(Invocation::Run(job)) => job,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn simple(count: u32, words: &str) -> App {
        let mut words = words.split_whitespace().map(OsString::from);
        let program = words.next().unwrap();
        let args = words.collect();
        App { count, program, args, wdir: None, inherit: Inherit::All, set: vec![] }
    }

    #[test]
    fn counts_programs_and_arguments() {
        for (line, apps) in [
            ("a", vec![simple(1, "a")]),
            ("-n 4 ./a -n 5 x", vec![simple(4, "./a -n 5 x")]),
            ("-np 4 a", vec![simple(4, "a")]),
            ("--n 4 a", vec![simple(4, "a")]),
            ("--np 4 a -- :x", vec![simple(4, "a -- :x")]),
            (
                "-n 2 a x : b : -n 3 c y z",
                vec![simple(2, "a x"), simple(1, "b"), simple(3, "c y z")],
            ),
        ] {
            assert_eq!(job(line).apps, apps, "{line}");
        }
    }

    #[test]
    fn environment_of_one_and_of_all() {
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let job =
            job("-genv A 1 -env B=2=3 a : -env A 9 -genv C= -envlist X,Y b : -envall c -genvnone");
        assert_eq!(job.apps[0].set, [pair("A", "1"), pair("C", ""), pair("B", "2=3")]);
        assert_eq!(job.apps[1].set, [pair("A", "1"), pair("C", ""), pair("A", "9")]);
        assert_eq!(job.apps[1].inherit, Inherit::Only(vec!["X".into(), "Y".into()]));
        assert_eq!(job.apps[2].inherit, Inherit::All);
        assert_eq!(job.apps[2].args, ["-genvnone"]);
        let job = self::job("-genvnone a : -envall b : -genvlist P c");
        assert_eq!(job.apps[0].inherit, Inherit::Only(vec!["P".into()]));
        assert_eq!(job.apps[1].inherit, Inherit::All);
    }

    #[test]
    fn options_of_the_job() {
        let job = job(
            "-l -usize 9 -bind ::1 -port-range 5000-5001 -log-ceiling 64m -v -no-pmi-library -pmi-port -wd /x a",
        );
        assert!(job.labels && job.verbose && !job.presets && job.pmi_port);
        assert_eq!(job.universe_size, Some(9));
        assert_eq!(job.bind.to_string(), "::1");
        assert_eq!(job.ports, Some(5000..=5001));
        assert_eq!(job.log_ceiling, 64 << 20);
        assert_eq!(job.apps[0].wdir, Some("/x".into()));
        assert_eq!(self::job("-port-range 7000 a").ports, Some(7000..=7000));
    }

    #[test]
    fn information_is_asked_for_by_any_of_its_names() {
        for (line, expected) in [
            ("-h", Invocation::Help),
            ("-n 4 --help", Invocation::Help),
            ("--man", Invocation::Man),
            ("-version", Invocation::Version),
            ("-V", Invocation::Version),
        ] {
            assert_eq!(parse_line(line), Ok(expected), "{line}");
        }
        assert_eq!(job("a --help").apps[0].args, ["--help"]);
    }

    #[test]
    fn bad_input_is_named_with_what_is_expected() {
        for (line, expected) in [
            ("", "there is no program to run"),
            ("-n 2", "there is no program to run"),
            (": a", "there is no program before ':'"),
            ("a : : b", "there is no program before ':'"),
            ("a :", "there is no program after the last ':'"),
            ("a : -n 2", "there is no program after the last ':'"),
            ("-n", "-n needs N"),
            ("-n x a", "-n expects a whole number from 1 to 16777216, not 'x'"),
            ("-np 0 a", "-n expects a whole number from 1 to 16777216, not '0'"),
            ("-n -1 a", "-n expects a whole number from 1 to 16777216, not '-1'"),
            ("-n 16777216 a : b", "16777217 ranks are more than a job may have (16777216)"),
            ("-env A", "-env needs VALUE"),
            ("-genv =1 a", "-genv needs the name of a variable"),
            ("-bind host a", "-bind expects an IPv4 or IPv6 address, not 'host'"),
            ("-port-range 9-8 a", "-port-range expects LOW-HIGH, as 5000-5100, not '9-8'"),
            ("-port-range 0-8 a", "-port-range expects LOW-HIGH, as 5000-5100, not '0-8'"),
            (
                "-log-ceiling 1 a",
                "-log-ceiling expects a number of bytes from 4096 to 4293918720, as 1000000 or 64M, not '1'",
            ),
            ("-frobnicate a", "unknown option '-frobnicate'"),
            ("---n 4 a", "unknown option '---n'"),
            ("- a", "unknown option '-'"),
        ] {
            let error = parse_line(line).expect_err(line).to_string();
            assert_eq!(error, format!("{expected}; try 'pmi-ssh --help'"), "{line}");
        }
    }
}

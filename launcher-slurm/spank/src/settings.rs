//! What plugstack.conf and the user say.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The arguments behind the plugin's path in plugstack.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Steps have a server unless the user says no.
    pub default: bool,
    /// Only srun loads the plugin, slurmstepd does not: the tasks are served through srun's task prolog.
    pub srun_only: bool,
    /// Where we are installed, if not where the plugin is.
    prefix: Option<PathBuf>,
    /// What `pmi-step-server` is told.
    server: Vec<OsString>,
}

impl Settings {
    /// # Errors
    /// What no plugin of this version understands.
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Settings, String> {
        let mut settings = Settings::default();
        for argument in arguments {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            match (name, value) {
                ("default", "") => settings.default = true,
                ("srun-only", "") => settings.srun_only = true,
                ("no-library", "") => settings.server.push("--pmi-no-library".into()),
                ("prefix", path) if path.starts_with('/') => settings.prefix = Some(path.into()),
                ("port-range" | "log-ceiling", value) if !value.is_empty() => {
                    settings.server.push(format!("--pmi-{name}={value}").into());
                }
                _ => return Err(unknown(argument)),
            }
        }
        Ok(settings)
    }

    /// The words for `pmi-step-server` that are the administrator's.
    pub fn server(&self) -> &[OsString] {
        &self.server
    }

    /// A program of ours, seen from the plugin's own path.
    ///
    /// # Errors
    /// It is nowhere.
    pub fn program(&self, name: &str, plugin: &Path) -> Result<PathBuf, String> {
        // Installed, the plugin is in lib/slurm; where it was built, all is in one directory.
        let beside = plugin.with_file_name(name);
        let around = plugin.ancestors().nth(3).map(|prefix| prefix.join("libexec").join(name));
        let places: Vec<PathBuf> = match &self.prefix {
            Some(prefix) => vec![prefix.join("libexec").join(name)],
            None => around.into_iter().chain([beside]).collect(),
        };
        let found = places.iter().find(|place| place.exists());
        found.cloned().ok_or_else(|| {
            format!(
                "{} is missing: install pmi-adapter under the same path on all hosts, or give prefix=DIR in \
                 plugstack.conf",
                places[0].display()
            )
        })
    }
}

fn unknown(argument: &str) -> String {
    format!(
        "'{argument}' in plugstack.conf is no argument of spank_pmi.so: they are default, no-library, srun-only, \
         prefix=/DIR, port-range=LOW-HIGH and log-ceiling=BYTES"
    )
}

/// Whether a step shall have a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Somebody has asked for it.
    Asked,
    /// Nobody has said anything; it is the cluster's default.
    ByDefault,
    /// No.
    Off,
}

/// As Slurm writes a value that was left out, where it hands an option of salloc and sbatch down to srun (seen with
/// 22.05).
const LEFT_OUT: &str = "(null)";

/// The value of the option, or of the variable: yes, also where it is left out, or no. `None` for anything else.
pub fn yes_or_no(text: &str) -> Option<bool> {
    match text {
        "" | LEFT_OUT | "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The option counts before the variable, the variable before plugstack.conf.
///
/// # Errors
/// The variable has a value that it cannot have.
pub fn decide(
    option: Option<bool>,
    variable: Option<&str>,
    default: bool,
) -> Result<Decision, String> {
    let asked = match (option, variable) {
        (Some(option), _) => Some(option),
        (None, None) => None,
        (None, Some(text)) => Some(yes_or_no(text).ok_or_else(|| {
            format!("the variable SLURM_PMI_KVS is '{text}': it can be yes or no")
        })?),
    };
    Ok(match (asked, default) {
        (Some(true), _) => Decision::Asked,
        (None, true) => Decision::ByDefault,
        (Some(false), _) | (None, false) => Decision::Off,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_others_refused() {
        let settings =
            Settings::parse(["default", "port-range=5000-5010", "prefix=/opt/pmi"]).unwrap();
        assert!(settings.default && !settings.srun_only);
        assert_eq!(settings.server(), ["--pmi-port-range=5000-5010"]);
        assert_eq!(settings.prefix.as_deref(), Some(Path::new("/opt/pmi")));
        for wrong in ["defualt", "default=1", "prefix=pmi", "port-range", "log-ceiling="] {
            let text = Settings::parse([wrong]).unwrap_err();
            assert!(text.contains(&format!("'{wrong}'")), "{text}");
        }
    }

    #[test]
    fn programs_are_found_from_where_the_plugin_is() {
        let place = std::env::temp_dir().join(format!("spank-pmi-{}", std::process::id()));
        let plugin = place.join("lib/slurm/spank_pmi.so");
        let find = |settings: &Settings| settings.program("x", &plugin);
        let missing = find(&Settings::default()).unwrap_err();
        assert!(missing.contains("libexec/x is missing"), "{missing}");
        std::fs::create_dir_all(place.join("libexec")).unwrap();
        std::fs::create_dir_all(plugin.parent().unwrap()).unwrap();
        std::fs::write(place.join("libexec/x"), "").unwrap();
        assert!(find(&Settings::default()).is_ok());
        let prefix = format!("prefix={}", place.display());
        assert_eq!(find(&Settings::parse([&*prefix]).unwrap()), Ok(place.join("libexec/x")));
        assert!(find(&Settings::parse(["prefix=/nowhere"]).unwrap()).is_err());
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn the_nearest_word_counts() {
        assert_eq!(decide(None, None, false), Ok(Decision::Off));
        assert_eq!(decide(None, None, true), Ok(Decision::ByDefault));
        assert_eq!(decide(None, Some("no"), true), Ok(Decision::Off));
        assert_eq!(decide(Some(true), Some("no"), false), Ok(Decision::Asked));
        assert_eq!(decide(Some(false), Some("yes"), true), Ok(Decision::Off));
        assert!(decide(None, Some("maybe"), true).unwrap_err().contains("'maybe'"));
    }
}

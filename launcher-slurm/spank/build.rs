//! Makes `slurm/spank.h` known to Rust: the plugin belongs to the version of Slurm whose header is found here.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the directory is named that has `slurm/spank.h`.
const DIRECTORY: &str = "SLURM_INCLUDE_DIR";

/// Where else it is looked for.
const USUAL: [&str; 4] =
    ["/usr/include", "/usr/local/include", "/opt/slurm/include", "/usr/local/slurm/include"];

fn main() {
    println!("cargo::rerun-if-env-changed={DIRECTORY}");
    let result = include_directory().and_then(|directory| {
        let version = version_in(&directory.join("slurm/slurm_version.h"))?;
        println!("cargo::rustc-env=SLURM_VERSION={version}");
        bind(&directory)
    });
    if let Err(text) = result {
        // Each line of a message has to be one of its own.
        text.lines().for_each(|line| println!("cargo::error={line}"));
    }
}

fn include_directory() -> Result<PathBuf, String> {
    let named = env::var_os(DIRECTORY).map(PathBuf::from);
    let places: Vec<PathBuf> = match named {
        Some(directory) => vec![directory],
        None => USUAL.into_iter().map(PathBuf::from).collect(),
    };
    let found = places.iter().find(|place| place.join("slurm/spank.h").exists());
    found.cloned().ok_or_else(|| {
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        format!(
            "spank_pmi.so needs slurm/spank.h of your Slurm, which is not in {}: install the headers (libslurm-dev, \
             slurm-devel), or name their directory in {DIRECTORY}, or build without the plugin: \
             cargo build --workspace --exclude spank-pmi",
            places.join(", ")
        )
    })
}

/// `22.05.8`, as `srun --version` has it.
fn version_in(header: &Path) -> Result<String, String> {
    println!("cargo::rerun-if-changed={}", header.display());
    let text = fs::read_to_string(header)
        .map_err(|error| format!("cannot read {}: {error}", header.display()))?;
    let number = text.lines().find_map(|line| line.strip_prefix("#define SLURM_VERSION_NUMBER "));
    let number = number.and_then(|number| number.trim().strip_prefix("0x"));
    let number = number.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let [_, major, minor, micro] = number
        .ok_or_else(|| format!("{} has no SLURM_VERSION_NUMBER", header.display()))?
        .to_be_bytes();
    Ok(format!("{major}.{minor:02}.{micro}"))
}

fn bind(directory: &Path) -> Result<(), String> {
    let bindings = bindgen::Builder::default()
        .header_contents("spank.h", "#include <slurm/spank.h>\n")
        .clang_arg(format!("-I{}", directory.display()))
        .allowlist_function("spank_(context|get_item|option_register|setenv|strerror|unsetenv)")
        .allowlist_function("slurm_error")
        .allowlist_type("spank_(context|item|option)")
        .allowlist_var("SLURM_VERSION_NUMBER")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .generate()
        .map_err(|error| format!("cannot read slurm/spank.h: {error}"))?;
    let output = env::var_os("OUT_DIR").ok_or("cargo has not set OUT_DIR")?;
    let file = Path::new(&output).join("spank.rs");
    bindings.write_to_file(file).map_err(|error| format!("cannot write the bindings: {error}"))
}

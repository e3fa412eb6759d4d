//! Whose a PMI library is.

use std::path::Path;

use pmi_client::IDENTITY;

use crate::image::Image;

/// Libraries by texts that stand in them, the first that fits. Slurm's libpmi2.so.0 does not name it anywhere, but has a
/// function that is in no other. Ours is looked for before: it has that function too, and names others in messages.
const MARKS: [(&str, &str); 6] = [
    ("slurm", "Slurm"),
    ("flux_", "Flux"),
    ("PMIX_Ring", "Slurm"),
    ("cray", "Cray"),
    ("Intel(R) MPI", "Intel MPI"),
    ("MPICH", "MPICH"),
];

/// What our own is called, before its version.
const OURS: &str = "pmi-adapter";

/// Whose library a file is: `pmi-adapter 0.1.0`, `Slurm`, …, or `unknown`. The error is a text for the user.
pub fn of(path: &Path) -> Result<String, String> {
    let image = Image::read(path)?;
    if !image.is_elf() {
        return Err(format!("{} is not an ELF file", path.display()));
    }
    Ok(of_image(&image))
}

fn of_image(image: &Image) -> String {
    let (before, _) = IDENTITY.split_once(' ').unwrap_or((IDENTITY, ""));
    if let Some(version) = image.between(&format!("{before} "), "]").next() {
        return format!("{OURS} {version}");
    }
    let found = MARKS.iter().find(|(mark, _)| image.holds(mark));
    found.map_or("unknown", |(_, owner)| owner).to_owned()
}

//! An ELF file: what it is to the dynamic loader, and what it says of itself. Nothing of it is run.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol};

/// Larger files are not read: the largest MPI library known has 60 MB, statically linked programs may have more.
const SIZE_MAX: u64 = 512 << 20;

/// Texts in a library are short: a longer one is not what we look for.
const TEXT_MAX: usize = 64;

/// The bytes of an ELF file.
pub struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// Reads a file. The error is a text for the user.
    pub fn read(path: &Path) -> Result<Image, String> {
        let problem = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
        // Opening a pipe would wait for who writes to it.
        let data = fs::metadata(path).map_err(problem)?;
        if !data.is_file() || data.len() > SIZE_MAX {
            return Err(format!("{} is not a file of less than 512 MiB", path.display()));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(problem)?;
        file.take(SIZE_MAX).read_to_end(&mut bytes).map_err(problem)?;
        Ok(Image { bytes })
    }

    /// The interpreter of a script that begins with `#!`.
    pub fn script(&self) -> Option<String> {
        let line = self.bytes.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
        Some(String::from_utf8_lossy(line).trim().to_owned())
    }

    /// Is it an ELF file that can be understood?
    pub fn is_elf(&self) -> bool {
        self.parse().is_some_and(|file| file.format() == object::BinaryFormat::Elf)
    }

    fn parse(&self) -> Option<object::File<'_>> {
        object::File::parse(&*self.bytes).ok()
    }

    /// The dynamic loader that a program asks for; none for one that is statically linked.
    pub fn loader(&self) -> Option<PathBuf> {
        let file = self.parse()?;
        let data = file.section_by_name(".interp")?.data().ok()?;
        let path = data.split(|&byte| byte == 0).next()?;
        Some(String::from_utf8_lossy(path).into_owned().into())
    }

    /// Does this text stand anywhere in the file?
    pub fn holds(&self, text: &str) -> bool {
        memchr::memmem::find(&self.bytes, text.as_bytes()).is_some()
    }

    /// The texts that stand between two others: printable ASCII, not empty, not longer than [`TEXT_MAX`] bytes.
    pub fn between<'a>(
        &'a self,
        before: &'a str,
        after: &'a str,
    ) -> impl Iterator<Item = String> + 'a {
        let places = memchr::memmem::find_iter(&self.bytes, before);
        let texts = places.filter_map(move |at| {
            let rest = &self.bytes[at + before.len()..];
            let rest = &rest[..rest.len().min(TEXT_MAX)];
            printable(&rest[..memchr::memmem::find(rest, after.as_bytes())?])
        });
        texts.filter(|text| !text.is_empty())
    }

    /// The text at a symbol, as in `const char ompi_version_string[]`.
    pub fn text_at(&self, symbol: &str) -> Option<String> {
        let file = self.parse()?;
        let named = |candidate: &object::Symbol<'_, '_>| {
            candidate.name() == Ok(symbol) && candidate.section_index().is_some()
        };
        let found = file.dynamic_symbols().find(named).or_else(|| file.symbols().find(named))?;
        let section = file.section_by_index(found.section_index()?).ok()?;
        let data = section.data_range(found.address(), found.size()).ok()??;
        printable(data.split(|&byte| byte == 0).next()?)
    }
}

fn printable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.chars().all(|character| (' '..='~').contains(&character)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(bytes: &[u8]) -> Image {
        Image { bytes: bytes.to_vec() }
    }

    #[test]
    fn a_program_is_understood_and_anything_else_does_no_harm() {
        let program = Image::read(&std::env::current_exe().unwrap()).unwrap();
        assert!(program.is_elf() && program.script().is_none());
        for bytes in [&b""[..], b"\x7fELF", b"\x7fELF\x02\x01\x01", &[0xff; 300]] {
            let image = image(bytes);
            assert!(!image.is_elf() && image.loader().is_none() && image.text_at("x").is_none());
        }
        // Every prefix of a program: offsets lead outside.
        for length in (0..4096.min(program.bytes.len())).step_by(7) {
            let cut = image(&program.bytes[..length]);
            let _ = (cut.is_elf(), cut.loader(), cut.text_at("main"));
        }
    }

    #[test]
    fn texts_are_found_between_others() {
        let text = image(b"junk[pmi-adapter ]\xff[pmi-adapter 1.2.3]more");
        assert_eq!(text.between("[pmi-adapter ", "]").next().as_deref(), Some("1.2.3"));
        assert_eq!(text.between("[pmi-adapter ", "}").next(), None);
        assert_eq!(image(b"#! /bin/sh -e\nx").script().as_deref(), Some("/bin/sh -e"));
    }

    #[test]
    fn what_is_no_file_is_said_so() {
        assert!(Image::read(Path::new("/dev/zero")).is_err());
        assert!(Image::read(Path::new("/no/such")).err().unwrap().contains("/no/such"));
    }
}

//! Variables as numbers and text, with errors that name them.

use super::EnvironmentError;

/// An environment. Empty variables count as not set.
pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Reader<'a> {
        Reader { lookup }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.is_empty())
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// A number between two bounds, both included.
    pub(super) fn number(
        &self,
        name: &str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, EnvironmentError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.trim().parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(self.malformed(name, &format!("a whole number from {min} to {max}"))),
        }
    }

    /// The first of these variables that is set.
    pub(super) fn first_set(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.is_set(name))
    }

    /// The first of these variables that is set, as a number that fits 32 bits.
    pub(super) fn first_number(
        &self,
        names: &[&'static str],
        min: u64,
        max: u64,
    ) -> Result<Option<u32>, EnvironmentError> {
        let Some(name) = self.first_set(names) else { return Ok(None) };
        Ok(self.number(name, min, max)?.map(|number| number as u32))
    }

    pub(super) fn malformed(&self, name: &str, expected: &str) -> EnvironmentError {
        let text = self.text(name).unwrap_or_default();
        EnvironmentError(format!("{name}={text}: expected {expected}"))
    }
}

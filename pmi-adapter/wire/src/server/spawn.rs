//! Spawn requests: PMI-1 sends a block of lines for each command, PMI-2 one message with a `subcmd` for each.

use crate::attributes::{Attribute, Attributes};
use crate::limits::{ATTRIBUTES_MAX, SPAWN_COMMANDS_MAX};
use crate::{Text, Violation, scan};

use super::request::{Command, Spawn};

/// From the blocks of a PMI-1 request.
pub(super) fn from_lines(body: &[u8]) -> Result<Spawn<'_>, Violation> {
    let mut draft = Draft::default();
    for line in Attributes::lines(body) {
        draft.count()?;
        match line.name {
            b"mcmd" => draft.begin(Text::default())?,
            b"execname" => draft.last()?.program = line.text(),
            b"nprocs" => draft.last()?.processes = processes(&line)?,
            b"totspawns" => draft.announced = Some(scan::number(&line.text())),
            b"spawnssofar" | b"argcnt" | b"info_num" | b"infonum" | b"preput_num" | b"endcmd" => {}
            _ => draft.numbered(&line, &PMI1)?,
        }
    }
    draft.finish()
}

/// From the attributes of a PMI-2 message.
pub(super) fn from_message(attributes: Attributes<'_>) -> Result<Spawn<'_>, Violation> {
    let mut draft = Draft::default();
    for attribute in attributes {
        draft.count()?;
        match attribute.name {
            b"subcmd" => draft.begin(attribute.text())?,
            b"maxprocs" => draft.last()?.processes = processes(&attribute)?,
            b"ncmds" => draft.announced = Some(scan::number(&attribute.text())),
            b"thrid" | b"preputcount" | b"argc" | b"infokeycount" => {}
            _ => draft.numbered(&attribute, &PMI2)?,
        }
    }
    draft.finish()
}

fn processes(attribute: &Attribute<'_>) -> Result<u32, Violation> {
    let number = scan::number(&attribute.text()).and_then(|number| u32::try_from(number).ok());
    number.ok_or(Violation::BadSpawn("has a number of processes that is none"))
}

/// The names of numbered attributes.
struct Names {
    argument: &'static [u8],
    info_key: &'static [u8],
    info_value: &'static [u8],
    preput_key: &'static [u8],
    preput_value: &'static [u8],
}

const PMI1: Names = Names {
    argument: b"arg",
    info_key: b"info_key_",
    info_value: b"info_val_",
    preput_key: b"preput_key_",
    preput_value: b"preput_val_",
};

const PMI2: Names = Names {
    argument: b"argv",
    info_key: b"infokey",
    info_value: b"infoval",
    preput_key: b"ppkey",
    preput_value: b"ppval",
};

/// Texts by their number, in the order they came in.
type Numbered<'a> = Vec<(i64, Text<'a>)>;

#[derive(Default)]
struct Draft<'a> {
    attributes: usize,
    announced: Option<Option<i64>>,
    spawn: Spawn<'a>,
    arguments: Numbered<'a>,
    info_keys: Numbered<'a>,
    info_values: Numbered<'a>,
    preput_keys: Numbered<'a>,
    preput_values: Numbered<'a>,
}

impl<'a> Draft<'a> {
    fn count(&mut self) -> Result<(), Violation> {
        self.attributes += 1;
        if self.attributes > ATTRIBUTES_MAX { Err(Violation::TooManyAttributes) } else { Ok(()) }
    }

    fn begin(&mut self, program: Text<'a>) -> Result<(), Violation> {
        self.end_command()?;
        if self.spawn.commands.len() == SPAWN_COMMANDS_MAX {
            return Err(Violation::BadSpawn("has too many commands"));
        }
        self.spawn.commands.push(Command { program, ..Command::default() });
        Ok(())
    }

    fn last(&mut self) -> Result<&mut Command<'a>, Violation> {
        let last = self.spawn.commands.last_mut();
        last.ok_or(Violation::BadSpawn("does not begin with a command"))
    }

    /// Sorts an attribute with a number at its end into its list; what is none of ours means nothing to us.
    fn numbered(&mut self, attribute: &Attribute<'a>, names: &Names) -> Result<(), Violation> {
        let lists = [
            (names.info_key, &mut self.info_keys),
            (names.info_value, &mut self.info_values),
            (names.preput_key, &mut self.preput_keys),
            (names.preput_value, &mut self.preput_values),
            (names.argument, &mut self.arguments),
        ];
        for (prefix, list) in lists {
            let number = attribute.name.strip_prefix(prefix).and_then(scan::number);
            if let Some(number) = number {
                list.push((number, attribute.text()));
                break;
            }
        }
        Ok(())
    }

    /// Gives the last command what came after it.
    fn end_command(&mut self) -> Result<(), Violation> {
        let arguments = in_order(&mut self.arguments)?;
        let infos = paired(&mut self.info_keys, &mut self.info_values)?;
        if let Some(command) = self.spawn.commands.last_mut() {
            (command.arguments, command.infos) = (arguments, infos);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Spawn<'a>, Violation> {
        self.end_command()?;
        self.spawn.preputs = paired(&mut self.preput_keys, &mut self.preput_values)?;
        let commands = self.spawn.commands.len();
        if self.announced.is_some_and(|announced| announced != i64::try_from(commands).ok()) {
            return Err(Violation::BadSpawn("does not have as many commands as it says"));
        }
        if self.spawn.commands.iter().any(|command| command.program.is_empty()) {
            return Err(Violation::BadSpawn("has a command without a program"));
        }
        Ok(self.spawn)
    }
}

/// The texts in the order of their numbers, none of which may come twice or be left out.
fn in_order<'a>(numbered: &mut Numbered<'a>) -> Result<Vec<Text<'a>>, Violation> {
    let mut numbered = std::mem::take(numbered);
    numbered.sort_by_key(|(number, _)| *number);
    if numbered.windows(2).any(|pair| pair[0].0.checked_add(1) != Some(pair[1].0)) {
        return Err(Violation::BadSpawn("leaves out a number, or has one twice"));
    }
    Ok(numbered.into_iter().map(|(_, text)| text).collect())
}

fn paired<'a>(
    keys: &mut Numbered<'a>,
    values: &mut Numbered<'a>,
) -> Result<Vec<(Text<'a>, Text<'a>)>, Violation> {
    let (keys, values) = (in_order(keys)?, in_order(values)?);
    if keys.len() != values.len() {
        return Err(Violation::BadSpawn("has a key without a value, or a value without a key"));
    }
    Ok(keys.into_iter().zip(values).collect())
}

#[cfg(test)]
mod tests;

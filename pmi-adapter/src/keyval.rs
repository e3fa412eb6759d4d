//! Command lines as (key, value) pairs: what `PMI_Parse_option`, `PMI_Args_to_keyval` and `PMI_Get_options`
//! say, without their pointers. The behaviour is that of Slurm's libpmi wherever that is defined.

use pmi_client::error::{Code, Failure};

/// What `PMI_Get_options` returns.
pub const OPTIONS: &str = "\
PMI options, before the program's own:
  PMI_<name>=<value>   hands the pair to the process manager with a spawn request
";

/// One pair; either half may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The key, with the dash it had on the command line.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
}

/// The leading arguments of the form `PMI_<name>=<value>`. Their number is that of the pairs.
pub fn parse_options<'a>(args: &[&'a [u8]]) -> Vec<Pair<'a>> {
    args.iter().map_while(|arg| parse_option(arg)).collect()
}

fn parse_option(arg: &[u8]) -> Option<Pair<'_>> {
    let arg = arg.trim_ascii_start();
    let equals = arg.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&arg[..equals], &arg[equals + 1..]);
    let name = key.strip_prefix(b"PMI_")?;
    let is_name = !name.is_empty() && !name.contains(&b' ');
    is_name.then_some(Pair { key: Some(key), value: Some(value) })
}

/// A whole command line: a first word without a dash is the program (a value without a key), then every
/// `-key` takes the word after it as its value, unless that begins with a dash. A word that belongs to no
/// key is `PMI_ERR_INVALID_ARG`, as is an empty command line.
pub fn args_to_keyvals<'a>(args: &[&'a [u8]]) -> Result<Vec<Pair<'a>>, Failure> {
    let mut pairs = Vec::new();
    let mut rest = args.iter().copied().peekable();
    let program = rest.next_if(|word| !is_key(word));
    pairs.extend(program.map(|word| Pair { key: None, value: Some(word) }));
    while let Some(word) = rest.next() {
        if !is_key(word) {
            return Err(Code::InvalidArg.into());
        }
        pairs.push(Pair { key: Some(word), value: rest.next_if(|word| !is_key(word)) });
    }
    if pairs.is_empty() { Err(Code::InvalidArg.into()) } else { Ok(pairs) }
}

fn is_key(word: &[u8]) -> bool {
    word.starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(pairs: &[Pair<'_>]) -> String {
        let half = |half: Option<&[u8]>| {
            half.map_or("-".into(), |half| format!("[{}]", String::from_utf8_lossy(half)))
        };
        pairs.iter().map(|pair| half(pair.key) + &half(pair.value)).collect::<Vec<_>>().join(" ")
    }

    fn words(line: &[&'static str]) -> Vec<&'static [u8]> {
        line.iter().map(|word| word.as_bytes()).collect()
    }

    #[test]
    fn leading_options_become_pairs_and_the_rest_is_left() {
        for (line, expected) in [
            (&["PMI_a=b"][..], "[PMI_a][b]"),
            (&["PMI_a=1", "PMI_b=2", "rest", "PMI_c=3"], "[PMI_a][1] [PMI_b][2]"),
            (&["  PMI_a=1"], "[PMI_a][1]"),
            (&["PMI_a="], "[PMI_a][]"),
            (&["PMI_a=x y=z"], "[PMI_a][x y=z]"),
            (&["prog", "PMI_a=1"], ""),
            (&["PMI_=3"], ""),
            (&["PMI_a"], ""),
            (&["PMI_a b=c"], ""),
            (&["pmi_a=1"], ""),
            (&["-PMI_a=1"], ""),
            (&[""], ""),
            (&[], ""),
        ] {
            assert_eq!(show(&parse_options(&words(line))), expected, "{line:?}");
        }
    }

    #[test]
    fn a_command_line_becomes_pairs() {
        for (line, expected) in [
            (&["prog"][..], "-[prog]"),
            (&["prog", "-a", "b", "-c"], "-[prog] [-a][b] [-c]-"),
            (&["-a", "b"], "[-a][b]"),
            (&["-n", "4", "-v", "-x", "y"], "[-n][4] [-v]- [-x][y]"),
            (&["--"], "[--]-"),
            (&[""], "-[]"),
        ] {
            assert_eq!(show(&args_to_keyvals(&words(line)).unwrap()), expected, "{line:?}");
        }
        for line in [&[][..], &["prog", "a"], &["prog", "-a", "b", "c"]] {
            assert_eq!(args_to_keyvals(&words(line)), Err(Code::InvalidArg.into()), "{line:?}");
        }
    }
}

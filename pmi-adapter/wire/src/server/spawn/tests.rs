use super::*;

const TWO: &str = "mcmd=spawn\nnprocs=1\nexecname=/bin/a\ntotspawns=2\nspawnssofar=1\nargcnt=2\narg1=first\n\
    arg2=arg two=2\npreput_num=1\npreput_key_0=PORT\npreput_val_0=a b=c\ninfo_num=1\ninfo_key_0=wdir\n\
    info_val_0=/tmp\nendcmd\nmcmd=spawn\nnprocs=2\nexecname=b\ntotspawns=2\nspawnssofar=2\nargcnt=0\n\
    info_num=0\nendcmd\n";

fn text(text: &str) -> Text<'_> {
    Text::Borrowed(text.as_bytes())
}

fn two() -> Spawn<'static> {
    let first = Command {
        program: text("/bin/a"),
        arguments: vec![text("first"), text("arg two=2")],
        processes: 1,
        infos: vec![(text("wdir"), text("/tmp"))],
    };
    let second = Command { program: text("b"), processes: 2, ..Command::default() };
    Spawn { commands: vec![first, second], preputs: vec![(text("PORT"), text("a b=c"))] }
}

fn message(body: &str) -> Result<Spawn<'_>, Violation> {
    let (_, attributes) = crate::attributes::open(crate::Dialect::V2, body.as_bytes())?;
    from_message(attributes)
}

#[test]
fn blocks_of_lines_are_commands() {
    assert_eq!(from_lines(TWO.as_bytes()), Ok(two()));
    assert_eq!(two().processes(), 3);
}

#[test]
fn a_message_has_a_subcmd_for_each_command() {
    let body = "cmd=spawn;thrid=0x1;ncmds=2;preputcount=1;ppkey0=PORT;ppval0=a b=c;subcmd=/bin/a;maxprocs=1;\
        argc=2;argv0=first;argv1=arg two=2;infokeycount=1;infokey0=wdir;infoval0=/tmp;subcmd=b;maxprocs=2;\
        argc=0;infokeycount=0;";
    assert_eq!(message(body), Ok(two()));
}

#[test]
fn the_order_of_numbered_lines_does_not_matter() {
    let swapped = TWO.replace("arg1=first\narg2=arg two=2", "arg2=arg two=2\narg1=first");
    assert_ne!(swapped, TWO);
    assert_eq!(from_lines(swapped.as_bytes()), Ok(two()));
}

#[test]
fn what_does_not_add_up_is_refused() {
    let broken = [
        ("arg2=", "arg3="),
        ("arg2=", "arg1="),
        ("info_val_0=/tmp\n", ""),
        ("nprocs=2", "nprocs=-2"),
        ("nprocs=2", "nprocs=two"),
        ("totspawns=2", "totspawns=3"),
        ("execname=b\n", ""),
        ("mcmd=spawn\nnprocs=1", "nprocs=1"),
    ];
    for (old, new) in broken {
        let request = TWO.replace(old, new);
        let parsed = from_lines(request.as_bytes());
        assert!(matches!(parsed, Err(Violation::BadSpawn(_))), "{old} -> {new}: {parsed:?}");
    }
}

#[test]
fn the_number_of_attributes_is_limited() {
    let many: String = (0..ATTRIBUTES_MAX).map(|index| format!("x{index}=;")).collect();
    let body = format!("cmd=spawn;ncmds=1;{many}subcmd=a;");
    assert_eq!(message(&body), Err(Violation::TooManyAttributes));
}

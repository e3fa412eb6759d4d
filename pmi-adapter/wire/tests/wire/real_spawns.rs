//! The recorded spawn requests of both dialects say the same.

use pmi_wire::server::{Connection, Request, Spawn};

use crate::feed::serve;
use crate::recording::{Sender, recordings};

/// Gives the one spawn request of a recording to `check`.
fn with_spawn(name: &str, piece: usize, check: impl Fn(&Spawn<'_>)) {
    let recordings = recordings("servers");
    let recording = recordings.iter().find(|recording| recording.name == name);
    let steps = recording.expect("it is there").steps();
    let (mut connection, mut found) = (Connection::new(), 0);
    for step in steps.iter().filter(|step| step.sender == Sender::Client) {
        serve(&mut connection, &step.bytes, piece, |ticket, request| {
            if let Request::Spawn(spawn) = request {
                assert!(ticket.wants_answer());
                check(&spawn);
                found += 1;
            }
        })
        .expect("real clients keep to the protocol");
    }
    assert_eq!(found, 1, "{name}");
}

fn check(spawn: &Spawn<'_>, program: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(spawn.processes(), 3);
    let [first, second] = &spawn.commands[..] else {
        panic!("two commands: {spawn:?}");
    };
    assert_eq!(
        (text(&first.program), text(&second.program)),
        ("/srv/user/app".into(), "/srv/user/app".into())
    );
    let arguments: Vec<String> = first.arguments.iter().map(|argument| text(argument)).collect();
    assert_eq!(arguments, [program, "first", "arg two"]);
    assert_eq!((first.processes, second.processes), (1, 2));
    let infos: Vec<_> = first.infos.iter().map(|(key, value)| (text(key), text(value))).collect();
    assert_eq!(infos, [("wdir".to_string(), "/srv/user".to_string())]);
    assert!(second.infos.is_empty());
    assert_eq!(text(&spawn.preputs[0].0), "PARENT_ROOT_PORT_NAME");
    assert!(spawn.preputs[0].1.starts_with(b"tag#0$"));
}

#[test]
fn of_pmi1() {
    for piece in [1, 100, usize::MAX] {
        with_spawn("hydra-5.0.2-pmi1-spawn.txt", piece, |spawn| {
            check(spawn, "/srv/user/spawn2.mpich5")
        });
    }
}

#[test]
fn of_pmi2() {
    for piece in [1, 100, usize::MAX] {
        with_spawn("hydra-4.0.2-pmi2-spawn.txt", piece, |spawn| {
            check(spawn, "/srv/user/spawn2.mpich-pmi2")
        });
    }
}

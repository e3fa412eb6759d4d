use super::*;

fn read(dialect: Dialect, body: &str) -> Vec<(String, String)> {
    let (command, attributes) = open(dialect, body.as_bytes()).expect("it has a command");
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut found = vec![("cmd".to_string(), string(command))];
    found.extend(attributes.map(|one| (string(one.name), string(&one.text()))));
    found
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn a_line_is_words() {
    let expected = [("cmd", "get"), ("kvsname", "k"), ("key", "a=b;c")];
    assert_eq!(read(Dialect::V1, "cmd=get kvsname=k  key=a=b;c"), pairs(&expected));
}

#[test]
fn value_runs_to_the_end_of_the_line() {
    let expected = [("cmd", "put"), ("key", "k"), ("value", " two words key=x ")];
    assert_eq!(read(Dialect::V1, "cmd=put key=k value= two words key=x "), pairs(&expected));
}

#[test]
fn an_empty_value_is_a_value() {
    assert_eq!(read(Dialect::V1, "cmd=put value="), pairs(&[("cmd", "put"), ("value", "")]));
    let expected = [("cmd", "get"), ("jobid", ""), ("key", "k")];
    assert_eq!(read(Dialect::V2, "cmd=get;jobid=;key=k;"), pairs(&expected));
}

#[test]
fn words_without_an_equals_sign_belong_to_the_value_before_them() {
    let expected = [("cmd", "publish_name"), ("service", "my  own service"), ("port", "p")];
    let line = "cmd=publish_name service=my  own service  port=p ";
    assert_eq!(read(Dialect::V1, line), pairs(&expected));
}

#[test]
fn semicolons_are_doubled_in_pmi2() {
    let expected = [("cmd", "kvs-put"), ("key", ";"), ("value", "a;;b;"), ("rc", "0")];
    let body = "cmd=kvs-put;key=;;;value=a;;;;b;;;rc=0;";
    assert_eq!(read(Dialect::V2, body), pairs(&expected));
}

#[test]
fn only_escaped_text_is_copied() {
    let (_, attributes) = open(Dialect::V2, b"cmd=x;a=1;b=;;;").expect("it has a command");
    let copied = attributes.map(|one| matches!(one.text(), Cow::Owned(_)));
    assert_eq!(copied.collect::<Vec<_>>(), [false, true]);
}

#[test]
fn what_is_no_attribute_ends_a_pmi2_message() {
    for tail in ["", "\0", "\0;valu", "unterminated", "a=", "a=b", "\0x=y;", "a=;;"] {
        let body = format!("cmd=kvs-fence;thrid=7;{tail}");
        let expected = [("cmd", "kvs-fence"), ("thrid", "7")];
        assert_eq!(read(Dialect::V2, &body), pairs(&expected), "tail {tail:?}");
    }
}

#[test]
fn a_message_begins_with_its_command() {
    for body in ["", "cmd", "key=1 cmd=get", " =", "get"] {
        assert!(open(Dialect::V1, body.as_bytes()).is_err(), "{body:?}");
    }
    for body in ["", "cmd", "cmd=get", "key=1;cmd=get;", ";cmd=get;"] {
        assert!(open(Dialect::V2, body.as_bytes()).is_err(), "{body:?}");
    }
}

//! With programs that stand in for the desktop's.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn question(n: u8, name: &str) -> ConsentRequest {
    let id = NodeId::from_bytes([n; 16]);
    ConsentRequest {
        id,
        name: name.to_owned(),
        address: "192.0.2.7:4000".parse().unwrap(),
        fingerprint: id.fingerprint(),
        code: "482913".to_owned(),
        offered_quota_bytes: 0,
        default_quota_bytes: 0,
        age_secs: 0,
        expires_in_secs: 300,
        warning: None,
    }
}

/// A program that writes its arguments into a file beside it, each on a line, and then does what `then` says.
fn program(folder: &Path, then: &str) -> Desktop {
    let program = folder.join("notify-send");
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >\"${{0%/*}}/told\"\n{then}\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Desktop {
        program,
        dialect: Dialect::NotifySend,
    }
}

#[test]
fn a_notice_says_who_asks_from_where_and_which_command_answers() {
    let one = question(0xb2, "NodeB");
    assert_eq!(
        notice(&[&one], "memcli consent"),
        Notice {
            title: "'NodeB' asks to connect".to_owned(),
            text: "From 192.0.2.7, id b2b2b2b2, code 482913. Answer with: memcli consent".to_owned(),
        }
    );
    let impostor = ConsentRequest {
        warning: Some(ConsentWarning::KnownNameNewKey),
        ..one.clone()
    };
    assert!(notice(&[&impostor], "c").text.starts_with("WARNING: "));
    let several = notice(&[&one, &question(1, "NodeC")], "memcli consent");
    assert_eq!(several.title, "2 nodes ask to connect");
    assert_eq!(several.text, "'NodeB', 'NodeC'. Answer with: memcli consent");
}

#[test]
fn the_command_names_a_folder_that_is_not_the_usual_one() {
    let usual = Path::new("/home/ada/.memcloud");
    assert_eq!(answering_command(usual, Some(usual)), "memcli consent");
    assert_eq!(
        answering_command(Path::new("/tmp/n"), Some(usual)),
        "memcli --home /tmp/n consent"
    );
}

#[tokio::test]
async fn what_a_peer_calls_itself_reaches_the_program_as_one_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let evil = question(1, "--help $(touch x) `id`; \"'<b>&");
    program(folder.path(), "")
        .show(&notice(&[&evil], "memcli --home /<i> consent"))
        .await
        .unwrap();
    assert_eq!(
        fs::read_to_string(folder.path().join("told")).unwrap(),
        "--app-name=MemCloud\n--\n'--help $(touch x) `id`; \"'<b>&' asks to connect\nFrom 192.0.2.7, id 01010101, code \
         482913. Answer with: memcli --home /&lt;i&gt; consent\n"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn the_script_of_macos_has_the_texts_as_arguments() {
    let notice = Notice {
        title: "\" & (do shell script \"x\") & \"".to_owned(),
        text: "text".to_owned(),
    };
    let arguments = Dialect::Osascript.arguments(&notice);
    assert_eq!(arguments[6..], [notice.title, notice.text]);
    assert!(!arguments[..6].iter().any(|part| part.contains("do shell script")));
}

#[tokio::test]
async fn a_program_that_fails_or_is_not_there_is_an_error_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let notice = notice(&[&question(1, "NodeB")], "memcli consent");
    let failed = program(folder.path(), "exit 3").show(&notice).await.unwrap_err();
    assert!(failed.to_string().contains('3'), "{failed}");
    let nowhere = Desktop {
        program: folder.path().join("none"),
        dialect: Dialect::NotifySend,
    };
    assert_eq!(
        nowhere.show(&notice).await.unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
}

#[tokio::test(start_paused = true)]
async fn a_program_that_hangs_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    // Opening a pipe at whose other end nobody is waits for ever.
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .unwrap();
    let desktop = program(folder.path(), "read line <\"${0%/*}/pipe\"");
    let notice = notice(&[&question(1, "NodeB")], "memcli consent");
    let error = desktop.show(&notice).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::budget::Ram;

/// The settings of these flags and variables in a home with this config.toml.
fn load(flags: &[&str], env: &[(&str, &str)], file: &str) -> (TempDir, Result<Settings, ConfigError>) {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config.toml"), file).unwrap();
    let path = home.path().to_str().unwrap();
    let args = ["memnode", "--home", path]
        .into_iter()
        .chain(flags.iter().copied())
        .map(OsString::from);
    let env: HashMap<_, _> = env.iter().copied().collect();
    let settings = Settings::load(args, |name| env.get(name).map(OsString::from));
    (home, settings)
}

fn error_of(flags: &[&str], env: &[(&str, &str)], file: &str) -> String {
    load(flags, env, file).1.unwrap_err().to_string()
}

#[test]
fn without_a_word_the_defaults_hold() {
    let (home, settings) = load(&[], &[], "");
    let settings = settings.unwrap();
    assert_eq!(settings.home, home.path());
    assert_eq!(settings.socket, home.path().join("memnode.sock"));
    assert_eq!(settings.config, home.path().join("config.toml"));
    assert_eq!(settings.port, 8080);
    assert!(settings.listen.is_unspecified() && settings.discovery && settings.peers.is_empty());
    assert_eq!(settings.memory, Ram::of_this_process().unwrap().budget_bytes(25));
    assert_eq!(settings.default_grant_bytes(), settings.memory / 2);
    assert_eq!(settings.consent_timeout, Duration::from_secs(300));
    assert_eq!(settings.pair_timeout, Duration::from_secs(300));
    assert_eq!(settings.log_file, None);
    assert_eq!(parse_name(&settings.name), Ok(settings.name));
}

#[test]
fn a_service_has_its_configuration_where_systemd_says() {
    let folder = tempfile::tempdir().unwrap();
    let place = ("CONFIGURATION_DIRECTORY", folder.path().to_str().unwrap());
    let (_home, settings) = load(&[], &[place], "name = \"of the home\"");
    assert_eq!(settings.unwrap().name, "of the home");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "name = \"of the service\"").unwrap();
    let (_home, settings) = load(&[], &[place], "name = \"of the home\"");
    let settings = settings.unwrap();
    assert_eq!(
        (settings.name.as_str(), settings.config),
        ("of the service", file)
    );
}

#[test]
fn a_group_that_is_not_there_is_named_with_what_to_do() {
    let error = error_of(&[], &[], "socket_group = \"no-such-group\"");
    assert!(
        error.contains("key 'socket_group'") && error.contains("sudo groupadd --system no-such-group"),
        "{error}"
    );
    let (_home, settings) = load(&["--socket-group", "root"], &[], "");
    assert_eq!(settings.unwrap().socket_group.unwrap().id, 0);
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let file =
        "memory = \"1gb\"\nport = 1\nname = \"from file\"\npeers = [\"a:1\", \"[::1]:2\"]\ndiscovery = false";
    let env = [
        ("MEMCLOUD_MEMORY", "2gb"),
        ("MEMCLOUD_PORT", "2"),
        ("MEMCLOUD_NAME", ""),
    ];
    let (_home, settings) = load(&["--memory", "3gb"], &env, file);
    let settings = settings.unwrap();
    assert_eq!(settings.memory, 3 << 30);
    assert_eq!(settings.port, 2);
    assert_eq!(settings.name, "from file", "an empty variable counts as absent");
    assert_eq!(settings.peers, ["a:1", "[::1]:2"]);
    assert!(!settings.discovery);

    let (_home, settings) = load(&["--discovery"], &[("MEMCLOUD_PEERS", "b:3,c:4")], file);
    let settings = settings.unwrap();
    assert!(settings.discovery);
    assert_eq!(
        settings.peers,
        ["b:3", "c:4"],
        "a list of one layer replaces that of the next"
    );
    assert!(
        !load(&["--no-discovery"], &[("MEMCLOUD_DISCOVERY", "yes")], "")
            .1
            .unwrap()
            .discovery
    );
}

#[test]
fn the_socket_lies_where_the_clients_look() {
    let load = |args: &[&str], env: &[(&str, &str)]| {
        let env: HashMap<_, _> = env.iter().copied().collect();
        Settings::load(args.iter().map(OsString::from), |name| {
            env.get(name).map(OsString::from)
        })
        .unwrap()
        .socket
    };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().to_str().unwrap();
    let run = ("XDG_RUNTIME_DIR", "/run/user/7");
    assert_eq!(
        load(&["memnode"], &[run, ("HOME", dir)]),
        Path::new("/run/user/7/memcloud/memnode.sock")
    );
    assert_eq!(
        load(&["memnode"], &[run, ("MEMCLOUD_HOME", dir)]),
        home.path().join("memnode.sock")
    );
    assert_eq!(
        load(&["memnode", "--home", dir], &[run]),
        home.path().join("memnode.sock")
    );
    assert_eq!(
        load(&["memnode", "--home", dir], &[("MEMCLOUD_SOCKET", "/tmp/s")]),
        Path::new("/tmp/s")
    );
}

#[test]
fn every_setting_is_explained_with_its_variable_and_default() {
    let error = load(&["--help"], &[], "").1.unwrap_err();
    let ConfigError::Usage(help) = error else {
        panic!("{error}")
    };
    assert_eq!(help.exit_code(), 0);
    let help = help.to_string();
    for arg in Args::command().get_arguments().filter(|arg| is_setting(arg)) {
        let id = arg.get_id().as_str();
        let flag = arg.get_long().expect("a setting is a flag");
        assert!(help.contains(&format!("--{flag}")), "{id}");
        assert!(help.contains(&env_name(id)), "{id}");
        let has_default = !arg.get_default_values().is_empty()
            || ["allow_flush", "interfaces", "peers", "log_file", "socket_group"].contains(&id);
        assert!(has_default, "{id} has no default");
    }
}

#[test]
fn a_node_in_the_background_knows_what_starts_it_again() {
    let (home, settings) = load(&["--background", "--name", "a name", "--port=0"], &[], "");
    let expected = [
        "--home",
        home.path().to_str().unwrap(),
        "--name",
        "a name",
        "--port=0",
    ];
    let started_with = settings.unwrap().started_with.unwrap();
    assert_eq!(started_with, expected, "--background is whoever starts it to add");
    let (_home, settings) = load(&["--name", "a name"], &[], "");
    assert_eq!(settings.unwrap().started_with, None, "somebody looks after it");
}

#[test]
fn interfaces_are_named_one_or_several_at_a_time() {
    let interfaces =
        |args: &[&str], env: &[(&str, &str)], file: &str| load(args, env, file).1.unwrap().interfaces;
    assert_eq!(
        interfaces(&["--interface", "eth0", "--interface", "!docker*"], &[], ""),
        ["eth0", "!docker*"]
    );
    assert_eq!(
        interfaces(&[], &[("MEMCLOUD_INTERFACES", "en*,!en7")], ""),
        ["en*", "!en7"]
    );
    assert_eq!(
        interfaces(&[], &[], "interfaces = [\"wlan0\", \"eth0\"]"),
        ["wlan0", "eth0"]
    );
    assert!(error_of(&["--interface", ""], &[], "").contains("names no interface"));
}

#[test]
fn a_wrong_value_is_named_with_its_place() {
    for (line, expected) in [
        ("memory = \"5 apples\"", "'5 apples' is no size"),
        ("memory = -1", "'-1' is no size"),
        ("memory = \"101%\"", "'101%' is no share"),
        ("memory = true", "'true' is no size"),
        ("memory = [1, 2]", "this setting is no array"),
        ("port = 65536", "65536 is not in 0..=65535"),
        ("port = \"http\"", "invalid digit"),
        ("listen = \"everywhere\"", "invalid IP address"),
        ("name = \"\"", "1 to 63 bytes, this one has 0"),
        ("name = \"a\\u0007b\"", "control characters"),
        ("name = \" a\"", "space"),
        ("discovery = \"perhaps\"", "not a boolean"),
        ("peers = [\"nowhere\"]", "'nowhere' is no HOST:PORT"),
        ("peers = \"::1:80\"", "'::1:80' is no HOST:PORT"),
        ("peers = [\"a:0\"]", "'a:0' is no HOST:PORT"),
        ("interfaces = [\"!\"]", "names no interface"),
        ("peers_max = 0", "'0' is no whole number from 1"),
        ("handshake_timeout = \"0s\"", "no time at all"),
        ("handshake_timeout = \"soon\"", "'soon' is no time"),
        ("log_level = \"memnode=loud\"", "error parsing level filter"),
        ("log_level = \"loud\"", "'loud' is no level"),
        ("log_file_size = \"1kb\"", "at least 4096 bytes"),
        ("api_port = 65536", "'auto' or 'off'"),
        (
            "api_listen = \"0.0.0.0\"",
            "a loopback address, such as 127.0.0.1",
        ),
    ] {
        let key = line.split(' ').next().unwrap();
        let error = error_of(&[], &[], line);
        assert!(
            error.contains(&format!("config.toml: key '{key}'")),
            "{line}: {error}"
        );
        assert!(error.contains(expected), "{line}: {error}");
        assert!(!error.contains('\n'), "{line}: {error}");
    }
    let long = format!("name = \"{}\"", "x".repeat(64));
    assert!(error_of(&[], &[], &long).contains("this one has 64"));
    let error = error_of(&[], &[("MEMCLOUD_PORT", "-1")], "");
    assert!(
        error.starts_with("environment variable MEMCLOUD_PORT: "),
        "{error}"
    );
    let error = error_of(&["--memory", "much"], &[], "");
    assert!(
        error.contains("--memory") && error.contains("'much' is no size"),
        "{error}"
    );
}

#[test]
fn an_unknown_key_is_named_and_the_right_one_offered() {
    let error = error_of(&[], &[], "memroy = 1");
    assert!(
        error.contains("config.toml: unknown key 'memroy', perhaps 'memory' is meant"),
        "{error}"
    );
    for key in ["home", "config", "background", "zzz"] {
        let error = error_of(&[], &[], &format!("{key} = \"a\""));
        assert!(error.contains(&format!("unknown key '{key}'")), "{error}");
    }
    assert!(error_of(&[], &[], "[peer]\nport = 1").contains("unknown key 'peer'"));
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let error = error_of(&[], &[], "port = \nname = 1");
    assert!(
        error.contains("config.toml: ") && error.contains("line 1"),
        "{error}"
    );
    let error = error_of(&["--config", "/nowhere/at/all.toml"], &[], "");
    assert_eq!(error, "there is no configuration file /nowhere/at/all.toml");

    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config.toml"), b"name = \"\xff\"").unwrap();
    let args = ["memnode".as_ref(), "--home".as_ref(), home.path().as_os_str()];
    let error = Settings::load(args, |_| None).unwrap_err().to_string();
    assert!(error.ends_with("config.toml: it is not UTF-8"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.toml");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let args = ["memnode".as_ref(), "--home".as_ref(), home.path().as_os_str()];
    let error = Settings::load(args, |_| None).unwrap_err().to_string();
    assert!(
        error.contains("config.toml") && error.contains("chmod 600"),
        "{error}"
    );
}

use super::*;

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    (dir, home)
}

fn device(number: u8, name: &str) -> TrustedDevice {
    let public_key = [number; 32];
    TrustedDevice {
        id: NodeId::from_public_key(&public_key),
        public_key: hex::encode(&public_key),
        name: name.to_owned(),
        quota_bytes: 1 << 30,
        trusted_at_unix_secs: 1_795_000_000,
        addresses: vec![address(1)],
    }
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 168, 1, last], 8080))
}

#[test]
fn devices_are_found_again_after_a_restart() {
    let (_dir, home) = home();
    let trust = TrustStore::load(&home).unwrap();
    assert_eq!(trust.list(), []);
    let (desk, shelf) = (device(1, "desk"), device(2, "shelf"));
    trust.upsert(shelf.clone()).unwrap();
    trust.upsert(desk.clone()).unwrap();
    let again = TrustStore::load(&home).unwrap();
    assert_eq!(again.list(), [desk.clone(), shelf.clone()]);
    assert_eq!(again.by_id(desk.id), Some(desk.clone()));
    assert_eq!(again.remove(desk.id).unwrap(), Some(desk.clone()));
    assert_eq!(again.remove(desk.id).unwrap(), None);
    assert_eq!(TrustStore::load(&home).unwrap().list(), [shelf]);
}

#[test]
fn a_device_is_named_by_its_name_its_id_or_the_start_of_its_id() {
    let (_dir, home) = home();
    let trust = TrustStore::load(&home).unwrap();
    let (first, second) = (device(1, "twin"), device(2, "twin"));
    trust.upsert(first.clone()).unwrap();
    trust.upsert(second).unwrap();
    assert_eq!(trust.find("twin").len(), 2);
    let id = first.id.to_string();
    for text in [&id, &id[..4], &id[..9].to_uppercase()] {
        assert_eq!(trust.find(text), vec![first.clone()], "{text}");
    }
    assert!(trust.find(&id[..3]).is_empty() && trust.find("").is_empty() && trust.find("nobody").is_empty());
    // A name that looks like the start of another device's id means the one that bears it.
    let impostor = device(3, &id[..8]);
    trust.upsert(impostor.clone()).unwrap();
    assert_eq!(trust.find(&id[..8]), [impostor]);
}

#[test]
fn the_newest_address_comes_first_and_old_ones_go() {
    let (_dir, home) = home();
    let trust = TrustStore::load(&home).unwrap();
    let desk = device(1, "desk");
    trust.note_seen(desk.id, "desk", address(1)).unwrap();
    assert_eq!(
        trust.list(),
        [],
        "a stranger does not become trusted by being seen"
    );
    trust.upsert(desk.clone()).unwrap();
    for last in (0..20).chain([15]) {
        trust.note_seen(desk.id, "renamed", address(last)).unwrap();
    }
    let seen = TrustStore::load(&home).unwrap().by_id(desk.id).unwrap();
    assert_eq!(seen.name, "renamed");
    assert_eq!(seen.addresses, [15, 19, 18, 17, 16, 14, 13, 12].map(address));
}

#[test]
fn a_change_that_cannot_be_written_does_not_happen() {
    let (dir, home) = home();
    let trust = TrustStore::load(&home).unwrap();
    let desk = device(1, "desk");
    trust.upsert(desk.clone()).unwrap();
    dir.close().unwrap();
    let error = trust.upsert(device(2, "shelf")).unwrap_err().to_string();
    assert!(
        error.contains("cannot write") && error.contains("trusted_devices.json"),
        "{error}"
    );
    trust.remove(desk.id).unwrap_err();
    assert_eq!(trust.list(), [desk]);
}

#[test]
fn no_more_than_the_most_devices_are_trusted() {
    let (_dir, home) = home();
    let trust = TrustStore::load(&home).unwrap();
    let full = (0..DEVICES_MAX).map(|i| NodeId::from_bytes((i as u128).to_le_bytes()));
    *trust.lock() = full.map(|id| (id, device(1, "some"))).collect();
    assert!(matches!(
        trust.upsert(device(2, "one more")),
        Err(TrustError::Full)
    ));
    assert_eq!(trust.list().len(), DEVICES_MAX);
}

#[test]
fn a_damaged_file_is_named_and_left_alone() {
    let (_dir, home) = home();
    let trust = TrustStore::load(&home).unwrap();
    trust.upsert(device(1, "desk")).unwrap();
    let good = std::fs::read_to_string(home.trust_file()).unwrap();
    let device_of = |good: &str| {
        good[good.find("    {").unwrap()..good.rfind(']').unwrap()]
            .trim()
            .to_owned()
    };
    let twice = good.replacen(&device_of(&good), &format!("{0},{0}", device_of(&good)), 1);
    for (damaged, expected) in [
        ("".to_owned(), "EOF"),
        ("[]".to_owned(), "invalid length 0"),
        (good[..good.len() / 2].to_owned(), "line"),
        (
            good.replace("\"version\": 1", "\"version\": 2"),
            "its version is 2",
        ),
        (
            good.replace("0101", "0102"),
            "id and its key do not belong together",
        ),
        (good.replace("0101", "01"), "64 hexadecimal digits"),
        (good.replace("desk", ""), "1 to 63 bytes"),
        (good.replace("desk", &"x".repeat(64)), "1 to 63 bytes"),
        (
            good.replace("192.168.1.1:8080", "nowhere"),
            "invalid socket address",
        ),
        (good.replace("1073741824", "-1"), "invalid value"),
        (twice, "stands there twice"),
    ] {
        std::fs::write(home.trust_file(), &damaged).unwrap();
        let error = TrustStore::load(&home).unwrap_err().to_string();
        assert!(error.contains("trusted_devices.json is damaged: "), "{error}");
        assert!(error.contains(expected), "{expected}: {error}");
        assert_eq!(
            std::fs::read_to_string(home.trust_file()).unwrap(),
            damaged,
            "the file was changed"
        );
    }
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let (_dir, home) = home();
    let file = platform::private_file()
        .write(true)
        .create(true)
        .truncate(true)
        .open(home.trust_file())
        .unwrap();
    file.set_len(home::FILE_SIZE_MAX + 1).unwrap();
    let error = TrustStore::load(&home).unwrap_err().to_string();
    assert!(
        error.contains("trusted_devices.json has 4194305 bytes"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, home) = home();
    TrustStore::load(&home)
        .unwrap()
        .upsert(device(1, "desk"))
        .unwrap();
    std::fs::set_permissions(home.trust_file(), std::fs::Permissions::from_mode(0o660)).unwrap();
    let error = TrustStore::load(&home).unwrap_err().to_string();
    assert!(
        error.contains("mode is 0660") && error.contains("chmod 600"),
        "{error}"
    );
}

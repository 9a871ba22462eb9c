//! The responder that most Linux desktops run beside ours: each sees what the other announces.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::{LabHost, TEST_TOOLS};
use xtask::process::Running;
use xtask::tools::is_on_path;
use xtask::wait;

use crate::scene::{self, PORT};

/// How long Avahi may take to start, and then to hear and to be heard.
const PATIENCE: Duration = Duration::from_secs(40);

/// Starts Avahi with a bus of its own, publishes a service of ours, and keeps in `browsed` what is browsed. `/run` is the
/// command's own, for `ip netns exec` gives it a mount namespace.
const SCRIPT: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/dbus
dbus-daemon --system --fork --nopidfile
printf '[server]\nuse-ipv4=yes\nuse-ipv6=yes\nenable-dbus=yes\n' >avahi.conf
avahi-daemon --no-chroot --no-drop-root --no-rlimits -f avahi.conf -D
avahi-publish -s 'Published' _memcloud._tcp "$1" v=1 "id=$2" name=published run=0000000000000001 &
while :; do
    avahi-browse -rtp _memcloud._tcp >browsed.new
    mv browsed.new browsed
    sleep 0.2
done
"#;

/// What is published is gone when this is dropped: the lab ends what the script started.
fn start_avahi(host: &LabHost, id: &str) -> Result<Running> {
    for (tool, package) in TEST_TOOLS {
        ensure!(
            is_on_path(tool),
            "{tool} is missing: install the Debian package {package}, as `cargo xtask test` does"
        );
    }
    let mut command = host.command("sh");
    command.args(["-c", SCRIPT, "sh", &PORT.to_string(), id]);
    Running::start(&mut command)
}

#[test]
#[ignore = "several hosts"]
fn avahi_sees_our_node_and_ours_sees_what_avahi_publishes() -> Result<()> {
    const PUBLISHED_ID: &str = "00112233445566778899aabbccddeeff";
    let lab = scene::hosts(2)?;
    let [a, b] = lab.all();
    // As every machine with Docker has it, with the same address: nobody is to be sent there.
    for line in [
        "link add docker0 type bridge",
        "link add inside type veth peer name outside",
        "link set inside master docker0",
        "addr add 172.17.0.1/16 dev docker0",
        "link set inside up",
        "link set outside up",
        "link set docker0 up",
    ] {
        xtask::process::run(a.command("ip").args(line.split(' ')), scene::SOON)?.ok()?;
    }
    let node = scene::start(a)?;
    let mut avahi = start_avahi(b, PUBLISHED_ID)?;
    let id = node.status().node_id.to_string();

    let browsed = wait::until("our node at Avahi", PATIENCE, || -> Result<_> {
        ensure!(avahi.is_running(), "Avahi's script has ended");
        let browsed = fs::read_to_string(b.home_dir().join("browsed")).context("nothing was browsed yet")?;
        // `=` is a service that was resolved: interface, protocol, name, type, domain, host, address, port, TXT.
        let ours: Vec<String> = browsed
            .lines()
            .filter(|line| line.starts_with('=') && line.contains(&id))
            .map(str::to_owned)
            .collect();
        let ipv4 = ours.iter().any(|line| line.contains(";IPv4;"));
        let ipv6 = ours.iter().any(|line| line.contains(";IPv6;"));
        Ok((ipv4 && ipv6).then_some(ours))
    })?;
    for line in &browsed {
        let fields: Vec<&str> = line.split(';').collect();
        ensure!(fields[1] == "eth0" && fields[4] == "_memcloud._tcp", "{line}");
        ensure!(fields[8] == PORT.to_string(), "{line}");
        for txt in [
            format!("\"id={id}\""),
            "\"v=1\"".to_owned(),
            "\"name=a\"".to_owned(),
        ] {
            ensure!(fields[9].contains(&txt), "no {txt} in {line}");
        }
        ensure!(
            !line.contains("172.17."),
            "an address of containers is announced: {line}"
        );
    }
    ensure!(
        browsed
            .iter()
            .any(|line| line.contains(&format!(";{};", a.address()))),
        "{browsed:?}"
    );

    let published = wait::until("Avahi's service at our node", PATIENCE, || {
        scene::peer(a, "published")
    })?;
    ensure!(published.id.is_some_and(|id| id.to_string() == PUBLISHED_ID));
    ensure!(published.address.is_some_and(|address| address.port() == PORT));
    Ok(())
}

//! What goes wrong: each ends with one clear line, a code of its own, and a machine that is as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use xtask::dist::server::{Manner, Server};
use xtask::dist::{SUMS, write_sums};
use xtask::process::Running;

use crate::machine::{Machine, SOON, VERSION, file_url, find, is_root, run, write_program};
use crate::release;

/// Exit codes of install.sh.
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const PLATFORM: i32 = 3;
const TOOLS: i32 = 4;
const DOWNLOAD: i32 = 5;
const CHECKSUM: i32 = 6;
const RIGHTS: i32 = 7;
const ROOM: i32 = 8;
const OWNED: i32 = 9;
const PROGRAMS: i32 = 10;
const INTERRUPTED: i32 = 130;

/// A machine that has an older release, whose files must survive, and a server that has a newer one.
fn upgradable(manner: Manner) -> Result<(Machine, Server)> {
    let machine = Machine::installed()?;
    let server = Server::start(release::next()?, manner)?;
    Ok((machine, server))
}

#[test]
#[ignore = "packs a release"]
fn a_download_that_breaks_off_or_is_not_there() -> Result<()> {
    for (manner, code, word) in [
        (Manner::Broken, DOWNLOAD, "cannot download"),
        (Manner::Cut, CHECKSUM, "checksum"),
        (Manner::Missing, DOWNLOAD, "404"),
    ] {
        let (machine, server) = upgradable(manner)?;
        let said = machine.refuses(&mut machine.installer(&["sh"], &server.url(), &[]), code)?;
        ensure!(
            said.contains(word) && said.contains(&release::archive_name()?),
            "{said}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_release_that_is_not_what_it_says() -> Result<()> {
    let archive = release::archive_name()?;
    let machine = Machine::new()?;
    let refuses = |release: &std::path::Path, args: &[&str], code| {
        machine.refuses(&mut machine.installer(&["sh"], &file_url(release), args), code)
    };

    let cut = release::copy()?;
    release::cut_archive(cut.path())?;
    let said = refuses(cut.path(), &[], CHECKSUM)?;
    ensure!(said.contains("checksum"), "{said}");

    // Cut before it was summed up: tar finds it.
    write_sums(cut.path())?;
    let said = refuses(cut.path(), &[], FAILED)?;
    ensure!(said.contains("cannot unpack"), "{said}");

    let unlisted = release::copy()?;
    fs::write(unlisted.path().join(SUMS), "")?;
    let said = refuses(unlisted.path(), &[], CHECKSUM)?;
    ensure!(said.contains(&format!("has no line for {archive}")), "{said}");

    fs::write(unlisted.path().join(SUMS), format!("not-a-checksum  {archive}\n"))?;
    refuses(unlisted.path(), &[], CHECKSUM)?;

    fs::remove_file(unlisted.path().join(SUMS))?;
    let said = refuses(unlisted.path(), &[], DOWNLOAD)?;
    ensure!(said.contains(SUMS), "{said}");

    let said = refuses(release::this_build()?, &["--version", "99.0.0"], DOWNLOAD)?;
    ensure!(
        said.contains(&format!("has version {VERSION}, not 99.0.0")),
        "{said}"
    );

    let mislabelled = release::changed(|folder| Ok(fs::write(folder.join("VERSION"), "99.0.0\n")?))?;
    let said = refuses(mislabelled.path(), &[], PROGRAMS)?;
    ensure!(said.contains("calls itself"), "{said}");
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn wrong_usage() -> Result<()> {
    let machine = Machine::new()?;
    let url = file_url(release::this_build()?);
    for (args, word) in [
        (&["--frefix", "/x"][..], "no option '--frefix'"),
        (&["--version"], "--version needs a value"),
        (&["--version", "../.."], "is no version"),
        (&["--service=daemon"], "user or system"),
        (&["--prefix", "/"], "the root folder"),
    ] {
        let said = machine.refuses(&mut machine.installer(&["sh"], &url, args), USAGE)?;
        ensure!(said.contains(word), "{said}");
    }
    // What is to be trusted does not come over the network unencrypted.
    for url in [
        "http://example.org",
        "http://127.0.0.1.example.org/x",
        "ftp://127.0.0.1",
    ] {
        let said = machine.refuses(&mut machine.installer(&["sh"], url, &[]), USAGE)?;
        ensure!(said.contains("MEMCLOUD_INSTALL_BASE_URL"), "{said}");
    }
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_platform_that_is_not_known() -> Result<()> {
    let machine = Machine::new()?;
    for (system, processor, word) in [
        ("SunOS", "x86_64", "the system 'SunOS'"),
        ("Linux", "riscv64", "the processor 'riscv64'"),
        ("Linux", "armv7l", "the processor 'armv7l'"),
    ] {
        let lines = format!("case $1 in -s) echo {system} ;; -m) echo {processor} ;; esac");
        let path = machine.fake("uname", &lines)?;
        let mut install = machine.installer(&["sh"], &file_url(release::this_build()?), &[]);
        let said = machine.refuses(install.env("PATH", path), PLATFORM)?;
        ensure!(said.contains(word), "{said}");
    }
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_tool_that_is_not_there() -> Result<()> {
    for (tools, url, word) in [
        (&["sha256sum"][..], "https://127.0.0.1:1", "curl or wget"),
        (&[], "file:///nowhere", "sha256sum, shasum or openssl"),
    ] {
        let machine = Machine::new()?;
        let mut install = machine.installer(&["sh"], url, &[]);
        let said = machine.refuses(install.env("PATH", machine.tools(tools)?), TOOLS)?;
        ensure!(said.contains(word), "{said}");
    }
    let machine = Machine::new()?;
    let tools = machine.tools(&["sha256sum"])?;
    fs::remove_file(tools.join("tar"))?;
    let mut install = machine.installer(&["sh"], &file_url(release::this_build()?), &[]);
    let said = machine.refuses(install.env("PATH", tools), TOOLS)?;
    ensure!(said.contains("'tar'"), "{said}");
    Ok(())
}

/// A small disk below a folder, until it is dropped.
struct SmallDisk<'a>(&'a std::path::Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a std::path::Path, kib: u32) -> Result<Self> {
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k,mode=755"), "tmpfs"])
            .arg(at);
        run(&mut mount)?.ok()?;
        Ok(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // What is left of it shows in the next test that looks.
        let _ = run(std::process::Command::new("umount").arg(self.0));
    }
}

#[test]
#[ignore = "packs a release"]
fn no_room() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let archive_kib =
        u32::try_from(fs::metadata(release::this_build()?.join(release::archive_name()?))?.len() / 1024)?;
    // Not for the archive; not for what is in it.
    for kib in [archive_kib / 2, archive_kib * 3 / 2] {
        let machine = Machine::new()?;
        let prefix = machine.prefix();
        fs::create_dir(&prefix)?;
        let disk = SmallDisk::mount(&prefix, kib)?;
        fs::write(prefix.join("other"), "somebody's file")?;
        let server = Server::start(release::this_build()?, Manner::Whole)?;
        let said = machine.refuses(&mut machine.installer(&["sh"], &server.url(), &[]), ROOM)?;
        ensure!(said.contains("no room in "), "{said}");
        drop(disk);
    }
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn no_rights() -> Result<()> {
    if !is_root() || find("setpriv").is_none() {
        return Ok(());
    }
    let machine = Machine::installed()?;
    let as_nobody = [
        "setpriv",
        "--reuid",
        "nobody",
        "--regid",
        "nogroup",
        "--clear-groups",
        "sh",
    ];
    let script = fs::read_to_string(xtask::build::workspace_dir().join("install.sh"))?;
    let copy = machine.dir().join("install.sh");
    fs::write(&copy, script)?;
    let mut install = machine.command(as_nobody[0]);
    install
        .args(&as_nobody[1..])
        .arg(&copy)
        .arg("--prefix")
        .arg(machine.prefix())
        .env("MEMCLOUD_INSTALL_BASE_URL", file_url(release::this_build()?));
    let said = machine.refuses(&mut install, RIGHTS)?;
    ensure!(said.contains("run this as root"), "{said}");

    let said = machine.refuses(&mut machine.installed_uninstaller(&as_nobody), RIGHTS)?;
    ensure!(said.contains("run this as root"), "{said}");
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_file_that_cannot_be_put_in_its_place_brings_back_all_others() -> Result<()> {
    let (machine, server) = upgradable(Manner::Whole)?;
    // The third rename fails, as on a file that nobody may change.
    let count = machine.dir().join("renames");
    let path = machine.fake(
        "mv",
        &format!(
            "echo x >>'{0}'; [ \"$(wc -l <'{0}')\" -ne 3 ] || {{ echo 'mv: not permitted' >&2; exit 1; }}; exec /bin/mv \"$@\"",
            count.display()
        ),
    )?;
    let mut install = machine.installer(&["sh"], &server.url(), &[]);
    let said = machine.refuses(install.env("PATH", path), RIGHTS)?;
    ensure!(said.contains("not permitted"), "{said}");
    ensure!(
        fs::read_to_string(count)?.lines().count() > 3,
        "nothing was taken back"
    );
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_folder_where_a_file_belongs() -> Result<()> {
    let machine = Machine::new()?;
    fs::create_dir_all(machine.program("memcli").join("mine"))?;
    let mut install = machine.installer(&["sh"], &file_url(release::this_build()?), &[]);
    let said = machine.refuses(&mut install, FAILED)?;
    ensure!(said.contains("is a folder"), "{said}");
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn what_a_package_manager_has_installed() -> Result<()> {
    let machine = Machine::new()?;
    fs::create_dir_all(machine.prefix().join("bin"))?;
    write_program(&machine.program("memnode"), "exit 1")?;
    let url = file_url(release::this_build()?);
    // Without the package manager that this machine has.
    let tools = machine.tools(&["sha256sum"])?;
    for (manager, lines, advice) in [
        (
            "dpkg",
            "[ \"$1\" = -S ] && echo \"memnode: $2\"",
            "apt-get remove memnode",
        ),
        (
            "rpm",
            "[ \"$1\" = -qf ] && printf memcloud",
            "dnf remove memcloud",
        ),
    ] {
        machine.fake(manager, lines)?;
        let path = format!("{}:{}", machine.dir().join("fakes").display(), tools.display());
        let mut install = machine.installer(&["sh"], &url, &[]);
        let said = machine.refuses(install.env("PATH", &path), OWNED)?;
        ensure!(said.contains(advice), "{said}");
        let mut uninstall = machine.command("sh");
        uninstall
            .arg(xtask::build::workspace_dir().join("uninstall.sh"))
            .arg("--prefix")
            .arg(machine.prefix())
            .env("PATH", path);
        let said = machine.refuses(&mut uninstall, OWNED)?;
        ensure!(said.contains(advice), "{said}");
        fs::remove_dir_all(machine.dir().join("fakes"))?;
    }
    fs::remove_file(machine.program("memnode"))?;
    let cellar = machine.prefix().join("Cellar/memcloud/0.1.0/bin");
    fs::create_dir_all(&cellar)?;
    write_program(&cellar.join("memnode"), "exit 1")?;
    std::os::unix::fs::symlink("../Cellar/memcloud/0.1.0/bin/memnode", machine.program("memnode"))?;
    let said = machine.refuses(&mut machine.installer(&["sh"], &url, &[]), OWNED)?;
    ensure!(said.contains("brew upgrade memcloud"), "{said}");
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn ctrl_c_in_the_download() -> Result<()> {
    let (machine, server) = upgradable(Manner::Stuck)?;
    for shell in [&["sh"][..], &["bash"], &["busybox", "sh"]] {
        if find(shell[0]).is_none() {
            continue;
        }
        let before = machine.tree()?;
        // A terminal sends the signal to all processes of the group. Whoever runs these tests in the background ignores it, a shell cannot
        // take that back, and a terminal's own would not have it so.
        let shell = [&["env", "--default-signal=INT"], shell].concat();
        let mut install = machine.installer(&shell, &server.url(), &[]);
        let running = Running::start(install.process_group(0))?;
        server.wait_for(".tar.gz")?;
        let group = Pid::from_raw(i32::try_from(running.pid())?).expect("a pid is not 0");
        kill_process_group(group, Signal::INT)?;
        let ended = running.wait(SOON)?.fails_with(INTERRUPTED)?;
        assert_eq!(
            ended.stderr, "error: interrupted; nothing was changed\n",
            "{shell:?}"
        );
        ensure!(machine.tree()? == before, "the machine was changed: {ended}");
    }
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_folder_that_was_made_is_taken_back() -> Result<()> {
    let machine = Machine::new()?;
    // Writing completions fails, after programs and pages were put beside their places.
    let folder = machine.prefix().join("share/doc");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("memcloud"), "a file where a folder belongs")?;
    fs::set_permissions(folder.join("memcloud"), fs::Permissions::from_mode(0o644))?;
    let mut install = machine.installer(&["sh"], &file_url(release::this_build()?), &[]);
    machine.refuses(&mut install, RIGHTS)?;
    Ok(())
}

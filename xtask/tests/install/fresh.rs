//! Installing on a machine that has nothing, and running the installer again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use anyhow::{Result, ensure};
use xtask::build::{host_triple, workspace_dir};
use xtask::dist::server::{Manner, Server};

use crate::machine::{Machine, VERSION, file_url, find, is_root, run, write_program};
use crate::release;

#[test]
#[ignore = "packs a release"]
fn a_fresh_install_puts_everything_in_its_place_and_another_run_nothing() -> Result<()> {
    let machine = Machine::new()?;
    let server = Server::start(release::this_build()?, Manner::Whole)?;
    let installed = run(&mut machine.installer(&["sh"], &server.url(), &[]))?.ok()?;
    let said = installed.text();
    ensure!(
        said.contains(&format!("Installed MemCloud {VERSION} in ")),
        "{installed}"
    );
    ensure!(said.contains("memcli node start"), "{installed}");
    ensure!(installed.stderr.contains("is not on your PATH"), "{installed}");
    assert_eq!(server.asked_for(), ["SHA256SUMS", &release::archive_name()?]);
    for name in ["memnode", "memcli"] {
        let mode = fs::metadata(machine.program(name))?.permissions().mode() & 0o777;
        assert_eq!(mode, 0o755, "{name}");
        let version = run(machine.command(machine.program(name)).arg("--version"))?.ok()?;
        assert_eq!(version.text(), format!("{name} {VERSION}"));
    }

    let receipt = fs::read_to_string(machine.prefix().join("share/memcloud/receipt"))?;
    let mut listed: Vec<_> = receipt
        .lines()
        .filter_map(|line| line.strip_prefix("file ")?.split_once(' '))
        .map(|(_, path)| path.to_owned())
        .collect();
    listed.push(format!("{}/share/memcloud/receipt", machine.prefix().display()));
    listed.sort();
    let mut files: Vec<_> = machine
        .tree()?
        .into_iter()
        .filter(|(path, (_, contents))| path.starts_with("a prefix") && contents != "a folder")
        .map(|(path, _)| machine.dir().join(path).display().to_string())
        .collect();
    files.sort();
    assert_eq!(listed, files, "the receipt lists what is there, and nothing else");

    let before = machine.tree()?;
    let again = run(&mut machine.installer(&["sh"], &server.url(), &[]))?.ok()?;
    ensure!(
        again.text().contains("is in ") && again.text().contains(" already"),
        "{again}"
    );
    assert_eq!(server.asked_for(), ["SHA256SUMS"], "nothing is downloaded twice");
    assert_eq!(machine.tree()?, before);
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn every_shell_that_is_here_can_run_it() -> Result<()> {
    let shells: [&[&str]; 4] = [
        &["dash"],
        &["bash", "--posix"],
        &["busybox", "sh"],
        &["zsh", "--emulate", "sh"],
    ];
    let mut shells_run = 0;
    for shell in shells.iter().filter(|shell| find(shell[0]).is_some()) {
        let machine = Machine::new()?;
        let before = machine.tree()?;
        run(&mut machine.installer(shell, &file_url(release::this_build()?), &[]))?.ok()?;
        run(machine.command(machine.program("memcli")).arg("--version"))?.ok()?;
        run(&mut machine.installed_uninstaller(shell))?.ok()?;
        assert_eq!(machine.tree()?, before, "{shell:?}");
        shells_run += 1;
    }
    ensure!(shells_run > 0, "there is no shell");
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn wget_and_openssl_do_where_there_is_no_curl_and_no_sha256sum() -> Result<()> {
    for tools in [["wget", "openssl"], ["curl", "shasum"]] {
        // perl is what shasum is written in.
        let all: Vec<_> = tools.into_iter().chain(["perl"]).collect();
        if let Some(missing) = all.iter().find(|tool| find(tool).is_none()) {
            eprintln!("left out: there is no {missing}");
            continue;
        }
        let machine = Machine::new()?;
        let server = Server::start(release::this_build()?, Manner::Whole)?;
        let mut install = machine.installer(&["sh"], &server.url(), &[]);
        run(install.env("PATH", machine.tools(&all)?))?.ok()?;
        run(machine.command(machine.program("memcli")).arg("--version"))?.ok()?;
    }
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn without_rights_to_usr_local_it_goes_below_the_home() -> Result<()> {
    if !is_root() || find("setpriv").is_none() {
        return Ok(());
    }
    let machine = Machine::new()?;
    run(machine.command("chown").arg("nobody").arg(machine.home()))?.ok()?;
    let mut install = machine.command("setpriv");
    install
        .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"])
        // As it comes from a pipe.
        .args(["sh", "-s", "--"])
        .stdin(fs::File::open(workspace_dir().join("install.sh"))?)
        .env("MEMCLOUD_INSTALL_BASE_URL", file_url(release::this_build()?))
        .env("PATH", "/usr/bin:/bin");
    let installed = run(&mut install)?.ok()?;
    let program = machine.home().join(".local/bin/memcli");
    run(machine.command(program).arg("--version"))?.ok()?;
    ensure!(
        installed.stderr.contains(".local/bin is not on your PATH"),
        "{installed}"
    );
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn where_the_programs_for_glibc_do_not_run_those_for_musl_are_taken() -> Result<()> {
    let triple = host_triple()?;
    if !triple.ends_with("-linux-gnu") {
        eprintln!("left out: this system has another C library");
        return Ok(());
    }
    // What an older C library does with newer programs.
    let release = release::changed(|folder| {
        let lines = "echo \"$0: /lib/libc.so.6: version GLIBC_2.99 not found\" >&2; exit 1";
        write_program(&folder.join("bin/memnode"), lines)
    })?;
    let machine = Machine::new()?;
    let url = file_url(release.path());
    let said = machine.refuses(&mut machine.installer(&["sh"], &url, &[]), 10)?;
    ensure!(said.contains("GLIBC_2.99"), "{said}");

    let musl = triple.replace("-gnu", "-musl");
    release::add(release.path(), &musl, |_| Ok(()))?;
    machine.install_from(release.path(), &[])?.ok()?;
    run(machine.command(machine.program("memnode")).arg("--version"))?.ok()?;
    let receipt = fs::read_to_string(machine.prefix().join("share/memcloud/receipt"))?;
    ensure!(receipt.contains(&format!("target {musl}\n")), "{receipt}");
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_dry_run_says_what_it_would_do_and_does_nothing() -> Result<()> {
    let machine = Machine::new()?;
    let before = machine.tree()?;
    let said = machine.install(&["--dry-run", "--add-path"])?.ok()?.text();
    for part in ["Would install", "a prefix/bin", "PATH", "Nothing was changed."] {
        ensure!(said.contains(part), "no '{part}': {said}");
    }
    assert_eq!(machine.tree()?, before);
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn path_is_changed_when_asked_for_and_once() -> Result<()> {
    let machine = Machine::new()?;
    let start_up = machine.home().join(".bashrc");
    fs::write(&start_up, "alias ll='ls -l'\n")?;
    let install = || {
        let mut command = machine.installer(&["sh"], &file_url(release::this_build()?), &["--add-path"]);
        run(command.env("SHELL", "/bin/bash"))?.ok()
    };
    install()?;
    install()?;
    let text = fs::read_to_string(&start_up)?;
    assert_eq!(text.matches("a prefix/bin").count(), 1, "{text}");
    // A shell that starts with that file finds the programs.
    let mut shell = machine.command("bash");
    shell.args(["-c", ". ~/.bashrc && memcli --version"]);
    assert_eq!(run(&mut shell)?.ok()?.text(), format!("memcli {VERSION}"));

    machine.uninstall(&[])?.ok()?;
    assert_eq!(fs::read_to_string(&start_up)?, "alias ll='ls -l'\n");
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_script_that_was_cut_off_does_nothing() -> Result<()> {
    let machine = Machine::new()?;
    let before = machine.tree()?;
    let script = fs::read_to_string(workspace_dir().join("install.sh"))?;
    let lines: Vec<_> = script.split_inclusive('\n').collect();
    ensure!(
        lines.last() == Some(&"main \"$@\"\n"),
        "something follows the last call"
    );
    let url = file_url(release::this_build()?);
    // A sample of the lines, and the last ones all: each takes a shell.
    let ends = (0..lines.len()).filter(|end| end % 31 == 0 || end + 20 > lines.len());
    for end in ends {
        let mut shell = machine.command("sh");
        shell
            .arg("-c")
            .arg(lines[..end].concat())
            .arg("install.sh")
            .args(["--prefix".as_ref(), machine.prefix().as_os_str()])
            .env("MEMCLOUD_INSTALL_BASE_URL", &url)
            .stdout(Stdio::piped());
        let ended = run(&mut shell)?;
        assert_eq!(ended.text(), "", "after {end} lines");
    }
    assert_eq!(machine.tree()?, before);
    Ok(())
}

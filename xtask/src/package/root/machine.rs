//! The clean Debian, at rest or running: its files, its users, and what is done on it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::boot::Booted;
use crate::process::{self, Finished};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where packages are put for dpkg, out of the way of what is looked at.
const PACKAGES_DIR: &str = "/opt/packages";

/// A Debian in a folder.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
    booted: Option<Booted>,
}

impl Machine {
    /// One at rest: commands run in its folder, and no systemd runs.
    pub(super) fn at_rest(root: &Path) -> Result<Self> {
        fs::create_dir_all(root.join(PACKAGES_DIR.trim_start_matches('/')))?;
        Ok(Self {
            root: root.to_owned(),
            booted: None,
        })
    }

    /// Boots it.
    pub(super) fn boot(self) -> Result<Self> {
        Ok(Self {
            booted: Some(Booted::boot(&self.root)?),
            ..self
        })
    }

    /// Listens on a free port of its loopback, when it has booted.
    pub(super) fn listen(&self) -> Result<TcpListener> {
        let booted = self
            .booted
            .as_ref()
            .context("a machine at rest has no loopback")?;
        booted.listen()
    }

    /// Lets it go down.
    pub(super) fn shut_down(self) -> Result<()> {
        self.booted.map_or(Ok(()), Booted::shut_down)
    }

    /// The path of a file of the machine as this process sees it. What is mounted in there is not seen.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Runs a command as root of the machine.
    pub(super) fn run(&self, command: &[&str]) -> Result<Finished> {
        let mut entered = match &self.booted {
            Some(booted) => booted.enter(command),
            None => {
                let mut chroot = Command::new("chroot");
                chroot.arg(&self.root).args(command);
                chroot
            }
        };
        entered
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        process::run(&mut entered, PATIENCE)
    }

    /// Runs a command as a user of the machine who logged in now, in groups that were given to them before, with these variables.
    pub(super) fn run_as(&self, user: &str, variables: &[&str], command: &[&str]) -> Result<Finished> {
        let home = format!("HOME=/home/{user}");
        let as_user = [
            "setpriv",
            "--reuid",
            user,
            "--regid",
            user,
            "--init-groups",
            "env",
            "-C",
            "/",
            &home,
        ];
        self.run(&[&as_user, variables, command].concat())
    }

    /// What systemd says of a unit: the value of this property.
    pub(super) fn property(&self, unit: &str, name: &str) -> Result<String> {
        Ok(self
            .run(&["systemctl", "show", "--value", "--property", name, unit])?
            .ok()?
            .text())
    }

    /// Installs packages as `apt install ./FILE` does once it has fetched what they need. They, and nobody else, may have something to say.
    pub(super) fn install(&self, packages: &[PathBuf]) -> Result<()> {
        let mut command = vec!["dpkg".to_owned(), "--install".to_owned()];
        for package in packages {
            let name = package.file_name().context("a package has a name")?.display();
            let place = format!("{PACKAGES_DIR}/{name}");
            fs::copy(package, self.at(&place)).with_context(|| format!("cannot copy {name}"))?;
            command.push(place);
        }
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        self.dpkg(&command)
    }

    /// Removes packages, or purges them.
    pub(super) fn uninstall(&self, how: &str, packages: &[&str]) -> Result<()> {
        self.dpkg(&[&["dpkg", how], packages].concat())
    }

    fn dpkg(&self, command: &[&str]) -> Result<()> {
        let finished = self.run(command)?.ok()?;
        let said = format!("{}{}", finished.text(), finished.stderr);
        ensure!(
            !said.contains("warning") && !said.contains("rror"),
            "dpkg warns: {said}"
        );
        Ok(())
    }
}

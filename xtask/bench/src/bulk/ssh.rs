//! An SSH server of a host, with keys and settings of its own, and what goes over it: `scp` and `rsync`.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use xtask::lab::LabHost;
use xtask::process::{self, Running};
use xtask::wait;

use crate::commands::TRANSFER_TIMEOUT;
use crate::servers::{ensure_installed, folder};

/// The programs, and their packages.
const SSHD: (&str, &str) = ("sshd", "openssh-server");
const SCP: (&str, &str) = ("scp", "openssh-client");
const RSYNC: (&str, &str) = ("rsync", "rsync");

/// It wants to be started by its full name.
const SSHD_PATH: &str = "/usr/sbin/sshd";

/// The empty folder in which it lets its unprivileged part run (sshd(8)); a service makes it at its start.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// Where it listens.
const PORT: u16 = 9022;

/// The cipher of the nodes, as SSH names it.
const CIPHER: &str = "chacha20-poly1305@openssh.com";

/// How long the server may take until it answers, and how often it is looked for.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(20);

/// A server on host `there`, for programs on host `here`. Dropped, it ends.
pub(super) struct Ssh<'a> {
    here: &'a LabHost,
    there: &'a LabHost,
    // Before the folder: a server ends before its files do.
    _server: Running,
    dir: TempDir,
}

impl<'a> Ssh<'a> {
    /// Installs what is missing, and starts a server that lets this user in with a key made for it.
    pub(super) fn start(here: &'a LabHost, there: &'a LabHost) -> Result<Self> {
        ensure_installed([SSHD, SCP, RSYNC].into_iter())?;
        let dir = folder()?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700))?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(PRIVILEGE_SEPARATION)
            .with_context(|| format!("cannot make {PRIVILEGE_SEPARATION}"))?;
        let path = |name: &str| dir.path().join(name);
        for key in ["host_key", "user_key"] {
            make_key(&path(key))?;
        }
        let host_key = fs::read_to_string(path("host_key.pub"))?;
        fs::write(
            path("known_hosts"),
            format!("[{}]:{PORT} {host_key}", there.address()),
        )?;
        let settings = format!(
            "Port {PORT}\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\nSubsystem sftp internal-sftp\nCiphers {CIPHER}\n",
            there.address(),
            path("host_key").display(),
            path("user_key.pub").display(),
        );
        fs::write(path("sshd_config"), settings)?;
        let log = File::create(path("sshd.log"))?;
        let mut command = there.command(SSHD_PATH);
        command.args(["-D", "-e", "-f"]).arg(path("sshd_config"));
        command.stdout(log.try_clone()?).stderr(log);
        let server = Running::start_with_own_output(&mut command)?;
        let ssh = Self {
            here,
            there,
            _server: server,
            dir,
        };
        wait::until_polled("the SSH server to answer", START_TIMEOUT, START_POLL, || {
            here.dial(there, PORT).map(Some)
        })
        .with_context(|| fs::read_to_string(ssh.dir.path().join("sshd.log")).unwrap_or_default())?;
        Ok(ssh)
    }

    /// `scp` of a file to the other host. Returns the time from the start of the command to its end.
    pub(super) fn put(&self, source: &Path, copy: &Path) -> Result<Duration> {
        self.scp(source.display().to_string(), self.there_at(copy))
    }

    /// The same from the other host.
    pub(super) fn get(&self, source: &Path, copy: &Path) -> Result<Duration> {
        self.scp(self.there_at(source), copy.display().to_string())
    }

    fn scp(&self, from: String, to: String) -> Result<Duration> {
        let mut command = self.here.command(SCP.0);
        command.args(["-q", "-B", "-P", &PORT.to_string()]);
        command.args(self.options()).args([from, to]);
        self.run(&mut command)
    }

    /// `rsync -a` of a folder to the other host, into a folder there.
    pub(super) fn sync(&self, folder: &Path, copy: &Path) -> Result<Duration> {
        let shell: Vec<_> = ["ssh".to_owned(), format!("-p{PORT}")]
            .into_iter()
            .chain(self.options())
            .collect();
        let mut command = self.here.command(RSYNC.0);
        command.args(["-a", "-e", &shell.join(" ")]);
        command.args([format!("{}/", folder.display()), self.there_at(copy)]);
        self.run(&mut command)
    }

    fn run(&self, command: &mut Command) -> Result<Duration> {
        let finished = process::run(command, TRANSFER_TIMEOUT)?.ok();
        let finished = finished
            .with_context(|| fs::read_to_string(self.dir.path().join("sshd.log")).unwrap_or_default())?;
        Ok(finished.took)
    }

    /// No setting of the person who measures is to make a difference.
    fn options(&self) -> Vec<String> {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let known_hosts = format!("UserKnownHostsFile={}", path("known_hosts"));
        let options = [
            ["-F", "/dev/null"],
            ["-c", CIPHER],
            ["-i", &path("user_key")],
            ["-o", &known_hosts],
            ["-o", "IdentitiesOnly=yes"],
            ["-o", "BatchMode=yes"],
            ["-o", "ControlMaster=no"],
            ["-o", "Compression=no"],
        ];
        options.iter().flatten().map(ToString::to_string).collect()
    }

    fn there_at(&self, path: &Path) -> String {
        format!("root@{}:{}", self.there.address(), path.display())
    }
}

/// Makes a key without a passphrase.
fn make_key(path: &PathBuf) -> Result<()> {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .context("cannot run ssh-keygen")?;
    ensure!(
        made.status.success(),
        "ssh-keygen made no key: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}

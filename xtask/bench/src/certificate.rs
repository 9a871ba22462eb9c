//! A certificate for servers that encrypt, as OpenSSL makes it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Makes a key (P-256) and a certificate that it signed itself, good for two days. Returns their files in this folder.
///
/// # Errors
/// When `openssl` is not there or refuses.
pub(crate) fn self_signed(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let (key, certificate) = (dir.join("key.pem"), dir.join("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=bench", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stdin(Stdio::null())
        .output()
        .context("cannot run openssl")?;
    ensure!(
        made.status.success(),
        "openssl made no certificate: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok((key, certificate))
}

//! Who may talk to a node through its Unix socket: its owner and root, and the members of a group where one is named.
//!
//! Two things guard the socket. Its mode keeps others from connecting at all; and whoever connects is asked for, so that a mode that
//! somebody changed, or the moment before it is set, lets nobody in.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, ensure};
use tokio::net::UnixStream;

use crate::platform::peer_groups;

/// A group of users of this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserGroup {
    /// As it was named: by its name or its number.
    pub name: String,
    /// Its number.
    pub id: u32,
}

/// Who is let in.
#[derive(Debug)]
pub(super) struct Audience {
    owner: u32,
    group: Option<UserGroup>,
}

impl Audience {
    /// The user of this process, root, and the members of this group.
    pub(super) fn new(group: Option<UserGroup>) -> Self {
        Self {
            owner: rustix::process::geteuid().as_raw(),
            group,
        }
    }

    /// Whether the program at the other end of a connection may come in. Its groups are those that it had when it connected.
    ///
    /// # Errors
    /// Where the system does not tell whose program it is.
    pub(super) fn admits(&self, stream: &UnixStream) -> io::Result<Admission> {
        let peer = stream.peer_cred()?;
        if peer.uid() == self.owner || peer.uid() == 0 {
            return Ok(Admission::Granted);
        }
        let is_member = match &self.group {
            Some(group) => peer.gid() == group.id || peer_groups(stream)?.contains(&group.id),
            None => false,
        };
        Ok(if is_member {
            Admission::Granted
        } else {
            Admission::Refused { uid: peer.uid() }
        })
    }

    /// Makes the folder of the socket where it is missing, and refuses one in which others may replace the socket, or through which the
    /// members of the group cannot reach it.
    pub(super) fn prepare_folder(&self, folder: &Path) -> anyhow::Result<()> {
        let is_new = !folder.exists();
        crate::platform::create_private_dir(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        if is_new && let Some(group) = &self.group {
            open_to(folder, group, 0o710)?;
        }
        let meta = fs::metadata(folder)
            .with_context(|| format!("cannot look at the folder {}", folder.display()))?;
        let (others_write, sticky) = (meta.mode() & 0o022 != 0, meta.mode() & 0o1000 != 0);
        ensure!(
            sticky || !others_write,
            "other users may write in {0}; make it yours alone with: chmod 700 {0}",
            folder.display()
        );
        match &self.group {
            Some(group) => check_way(folder, group),
            None => Ok(()),
        }
    }

    /// Gives the socket, which is new, its mode and its group.
    pub(super) fn guard(&self, socket: &Path) -> anyhow::Result<()> {
        match &self.group {
            Some(group) => open_to(socket, group, 0o660),
            None => fs::set_permissions(socket, Permissions::from_mode(0o600))
                .with_context(|| format!("cannot make {} the owner's alone", socket.display())),
        }
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// It is served.
    Granted,
    /// It is closed: the program belongs to this user.
    Refused { uid: u32 },
}

/// Gives a file or folder to a group, and then this mode.
fn open_to(path: &Path, group: &UserGroup, mode: u32) -> anyhow::Result<()> {
    let UserGroup { name, id } = group;
    let meta = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    // A service whose own group this is needs no right to give files away.
    if meta.gid() != *id {
        chown(path, None, Some(*id)).with_context(|| {
            format!(
                "cannot give {} to the group '{name}': the user of this node must be a member of it",
                path.display()
            )
        })?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot open {} to the group '{name}'", path.display()))
}

/// Checks that no folder on the way is closed to the members of a group. One that lets some group through passes: whose it is can also be said by
/// access control lists, which are not looked at.
fn check_way(folder: &Path, group: &UserGroup) -> anyhow::Result<()> {
    let folder =
        fs::canonicalize(folder).with_context(|| format!("cannot find the folder {}", folder.display()))?;
    for folder in folder.ancestors() {
        let meta = fs::metadata(folder)
            .with_context(|| format!("cannot look at the folder {}", folder.display()))?;
        ensure!(
            meta.mode() & 0o011 != 0,
            "members of the group '{name}' cannot reach the socket: {folder} lets nobody but its owner through. Put the socket elsewhere with \
             --socket, or open the folder with: chgrp {name} {folder} && chmod g+x {folder}",
            name = group.name,
            folder = folder.display()
        );
    }
    Ok(())
}

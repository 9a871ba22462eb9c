//! Where the socket of a node lies.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The name of the socket in its folder.
const SOCKET_NAME: &str = "memnode.sock";

/// The socket of the node that runs as a service of the whole machine. Clients look there where a user has no node of their own; a node
/// listens there only where it is told to.
pub const SYSTEM_SOCKET: &str = "/run/memcloud/memnode.sock";

/// The group whose members may use the node of the whole machine, as the packages set it up.
pub const SYSTEM_GROUP: &str = "memcloud";

/// The path at which a node listens unless it is told otherwise: `$MEMCLOUD_SOCKET`, else `$MEMCLOUD_HOME/memnode.sock`, else
/// `$XDG_RUNTIME_DIR/memcloud/memnode.sock`, else `$HOME/.memcloud/memnode.sock`. `None` where none of the four is set.
///
/// `env` looks up a variable of the environment; an empty one counts as absent.
pub fn socket_path(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    named_socket(&env).or_else(|| users_socket(&env))
}

/// The path at which a client looks for the node: that of [`socket_path`], but [`SYSTEM_SOCKET`] where neither `$MEMCLOUD_SOCKET` nor
/// `$MEMCLOUD_HOME` says where the node is, nothing lies at the path that is left, and something lies there.
///
/// `env` looks up a variable of the environment; an empty one counts as absent. `is_there` tells whether anything lies at a path.
pub fn client_socket_path(
    env: impl Fn(&str) -> Option<OsString>,
    is_there: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    if let Some(named) = named_socket(&env) {
        return Some(named);
    }
    let system = Path::new(SYSTEM_SOCKET);
    match users_socket(&env) {
        Some(own) if is_there(&own) || !is_there(system) => Some(own),
        None if !is_there(system) => None,
        _ => Some(system.to_owned()),
    }
}

/// The socket that somebody named, or that lies in the folder that somebody named.
fn named_socket(env: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    path(env, "MEMCLOUD_SOCKET").or_else(|| Some(path(env, "MEMCLOUD_HOME")?.join(SOCKET_NAME)))
}

/// The socket of this user's node where nobody named one.
fn users_socket(env: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    path(env, "XDG_RUNTIME_DIR")
        .map(|folder| folder.join("memcloud").join(SOCKET_NAME))
        .or_else(|| Some(path(env, "HOME")?.join(".memcloud").join(SOCKET_NAME)))
}

fn path(env: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    env(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lookup in these variables.
    fn env<'a>(set: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + use<'a> {
        |name| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        }
    }

    #[test]
    fn the_more_special_variable_wins() {
        let mut set: Vec<(&str, &str)> = vec![
            ("HOME", "/home/a"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
            ("MEMCLOUD_HOME", "/srv/node"),
            ("MEMCLOUD_SOCKET", "/tmp/s"),
        ];
        let expected = [
            "/tmp/s",
            "/srv/node/memnode.sock",
            "/run/user/1/memcloud/memnode.sock",
            "/home/a/.memcloud/memnode.sock",
        ];
        for path in expected {
            let path = Some(PathBuf::from(path));
            assert_eq!(socket_path(env(&set)), path);
            assert_eq!(client_socket_path(env(&set), |_| false), path);
            set.pop();
        }
        assert_eq!(socket_path(|_| None), None);
        assert_eq!(socket_path(|_| Some(OsString::new())), None);
        assert_eq!(client_socket_path(|_| None, |_| false), None);
    }

    #[test]
    fn the_machines_node_is_taken_where_the_user_has_none() {
        const OWN: &str = "/run/user/1/memcloud/memnode.sock";
        let user = [("HOME", "/home/a"), ("XDG_RUNTIME_DIR", "/run/user/1")];
        let look = |set: &[(&str, &str)], there: &[&str]| {
            client_socket_path(env(set), |path| {
                there.iter().any(|known| Path::new(known) == path)
            })
        };
        assert_eq!(look(&user, &[SYSTEM_SOCKET]), Some(SYSTEM_SOCKET.into()));
        assert_eq!(look(&user, &[SYSTEM_SOCKET, OWN]), Some(OWN.into()));
        assert_eq!(look(&user, &[OWN]), Some(OWN.into()));
        // The home is not looked at where there is a folder for sockets.
        assert_eq!(
            look(&user, &[SYSTEM_SOCKET, "/home/a/.memcloud/memnode.sock"]),
            Some(SYSTEM_SOCKET.into())
        );
        assert_eq!(look(&[], &[SYSTEM_SOCKET]), Some(SYSTEM_SOCKET.into()));
        // Whoever says where the node is means that one.
        for (variable, socket) in [("MEMCLOUD_SOCKET", "/s"), ("MEMCLOUD_HOME", "/h/memnode.sock")] {
            let value = socket.trim_end_matches("/memnode.sock");
            assert_eq!(look(&[(variable, value)], &[SYSTEM_SOCKET]), Some(socket.into()));
        }
    }
}

//! Where the socket of a node lies.

use std::ffi::OsString;
use std::path::PathBuf;

/// The name of the socket in its folder.
const SOCKET_NAME: &str = "memnode.sock";

/// The path of the node's Unix socket: `$MEMCLOUD_SOCKET`, else `$MEMCLOUD_HOME/memnode.sock`, else
/// `$XDG_RUNTIME_DIR/memcloud/memnode.sock`, else `$HOME/.memcloud/memnode.sock`. `None` where none of the four is set.
///
/// `env` looks up a variable of the environment; an empty one counts as absent.
pub fn socket_path(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path("MEMCLOUD_SOCKET")
        .or_else(|| Some(path("MEMCLOUD_HOME")?.join(SOCKET_NAME)))
        .or_else(|| Some(path("XDG_RUNTIME_DIR")?.join("memcloud").join(SOCKET_NAME)))
        .or_else(|| Some(path("HOME")?.join(".memcloud").join(SOCKET_NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let found = socket_path(|name| {
                set.iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| OsString::from(value))
            });
            assert_eq!(found, Some(PathBuf::from(path)));
            set.pop();
        }
        assert_eq!(socket_path(|_| None), None);
        assert_eq!(socket_path(|_| Some(OsString::new())), None);
    }
}

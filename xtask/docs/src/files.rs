//! The files of a node, for the manual: no definition of a command line knows them.

/// The folder in which they lie unless `--home` or MEMCLOUD_HOME names another.
pub(crate) const HOME: &str = "~/.memcloud";

/// The files in that folder, with what they are. [`memnode::home`] says how they are kept.
pub(crate) const FILES: [(&str, &str); 6] = [
    (
        "config.toml",
        "The settings of the node. Nobody else may write to it.",
    ),
    (
        "identity.key",
        "The secret key of the node, made at its first start. Whoever has it is this node to all peers; without it the node is a stranger to them.",
    ),
    (
        "trusted_devices.json",
        "The peers that are let in without asking, and their grants.",
    ),
    (
        "token",
        "What a program shows to use the TCP port of the local API. It is made anew where it is missing.",
    ),
    (
        "memnode.pid",
        "The process that runs here. It is locked as long as the node runs.",
    ),
    (
        "memnode.log",
        "The log of a node that `memcli node start` started; older ones are memnode.log.1 and so on.",
    ),
];

/// The socket on which the node serves the programs of its machine.
pub(crate) const SOCKET: (&str, &str) = (
    "$XDG_RUNTIME_DIR/memcloud/memnode.sock",
    "The socket of the local API. It lies in the folder of the node, as memnode.sock, where that was named or $XDG_RUNTIME_DIR is not set.",
);

#[cfg(test)]
mod tests {
    use memnode::home::Home;

    use super::*;

    #[test]
    fn the_files_have_the_names_that_the_node_gives_them() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path().join("home")).unwrap();
        let names = [
            home.config_file(),
            home.identity_file(),
            home.trust_file(),
            home.token_file(),
            home.pid_file(),
            home.log_file(),
        ];
        let names = names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        assert_eq!(names, FILES.map(|(name, _)| name));
        assert!(HOME.ends_with(memnode::home::DEFAULT_DIR_NAME));
    }
}

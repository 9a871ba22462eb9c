//! The packet filters that people have on their machines, and the commands that let a port through. Nothing is run here:
//! to change a filter is the person's business.

use std::path::Path;

/// A program that filters packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firewall {
    /// Uncomplicated Firewall, of Ubuntu.
    Ufw,
    /// firewalld, of Fedora, RHEL and SUSE.
    Firewalld,
    /// Rules made with `nft`.
    Nftables,
    /// Rules made with `iptables`.
    Iptables,
}

/// What is to be let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// TCP connections to this port.
    Tcp(u16),
    /// mDNS: UDP to port 5353.
    Mdns,
}

impl Firewall {
    /// The name as people know it.
    pub const fn name(self) -> &'static str {
        match self {
            Firewall::Ufw => "ufw",
            Firewall::Firewalld => "firewalld",
            Firewall::Nftables => "nftables",
            Firewall::Iptables => "iptables",
        }
    }

    /// Whether it is known to be on. Of the others it is only known that they are installed, for their rules are not
    /// shown to ordinary users.
    pub const fn is_on(self) -> bool {
        matches!(self, Firewall::Ufw | Firewall::Firewalld)
    }

    /// The command that lets something in.
    pub fn allow(self, traffic: Traffic) -> String {
        let (port, protocol) = match traffic {
            Traffic::Tcp(port) => (port, "tcp"),
            Traffic::Mdns => (5353, "udp"),
        };
        match self {
            Firewall::Ufw => format!("sudo ufw allow {port}/{protocol}"),
            Firewall::Firewalld => format!(
                "sudo firewall-cmd --permanent --add-port={port}/{protocol} && sudo firewall-cmd --reload"
            ),
            // The usual names of the table and the chain; a person who has others knows them.
            Firewall::Nftables => {
                format!("sudo nft insert rule inet filter input {protocol} dport {port} accept")
            }
            Firewall::Iptables => format!("sudo iptables -I INPUT -p {protocol} --dport {port} -j ACCEPT"),
        }
    }
}

/// The packet filters of this machine: those that are on, else those that may be.
pub fn active() -> Vec<Firewall> {
    if cfg!(target_os = "linux") {
        active_below(Path::new("/"))
    } else {
        Vec::new()
    }
}

/// [`active`] with another root of the file system.
fn active_below(root: &Path) -> Vec<Firewall> {
    let exists = |path: &str| root.join(path).exists();
    let ufw_is_on = std::fs::read_to_string(root.join("etc/ufw/ufw.conf"))
        .is_ok_and(|conf| conf.lines().any(|line| line.trim() == "ENABLED=yes"));
    let firewalld_is_on = [
        "run/firewalld.pid",
        "run/firewalld",
        "sys/fs/cgroup/system.slice/firewalld.service",
    ]
    .iter()
    .any(|path| exists(path));
    let on: Vec<Firewall> = [(Firewall::Ufw, ufw_is_on), (Firewall::Firewalld, firewalld_is_on)]
        .into_iter()
        .filter_map(|(firewall, is_on)| is_on.then_some(firewall))
        .collect();
    if !on.is_empty() {
        return on;
    }
    let installed = |program: &str| {
        ["usr/sbin", "sbin", "usr/bin", "bin"]
            .iter()
            .any(|folder| exists(&format!("{folder}/{program}")))
    };
    // Where both are, iptables is a face of nftables.
    match (installed("nft"), installed("iptables")) {
        (true, _) => vec![Firewall::Nftables],
        (false, true) => vec![Firewall::Iptables],
        (false, false) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_filter_that_is_on_is_found() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let found = || active_below(root.path());
        assert_eq!(found(), []);
        put("usr/sbin/iptables", "");
        assert_eq!(found(), [Firewall::Iptables]);
        put("usr/sbin/nft", "");
        assert_eq!(found(), [Firewall::Nftables]);
        put("etc/ufw/ufw.conf", "# comment\nENABLED=no\n");
        assert_eq!(found(), [Firewall::Nftables]);
        put("etc/ufw/ufw.conf", "# comment\nENABLED=yes\n");
        assert_eq!(found(), [Firewall::Ufw]);
        put("run/firewalld.pid", "1");
        assert_eq!(found(), [Firewall::Ufw, Firewall::Firewalld]);
    }

    #[test]
    fn each_has_its_command() {
        for (firewall, tcp) in [
            (Firewall::Ufw, "sudo ufw allow 8080/tcp"),
            (
                Firewall::Firewalld,
                "sudo firewall-cmd --permanent --add-port=8080/tcp && sudo firewall-cmd --reload",
            ),
            (
                Firewall::Nftables,
                "sudo nft insert rule inet filter input tcp dport 8080 accept",
            ),
            (
                Firewall::Iptables,
                "sudo iptables -I INPUT -p tcp --dport 8080 -j ACCEPT",
            ),
        ] {
            assert_eq!(firewall.allow(Traffic::Tcp(8080)), tcp);
            assert!(firewall.allow(Traffic::Mdns).contains("5353"));
        }
    }
}

//! A node that a service manager started: the commands with which people look after it.

use memproto::control::ServiceManager;

/// The unit of the packages and of install.sh.
const UNIT: &str = "memnode";

/// The command that starts, stops or restarts the service.
pub(crate) fn control(manager: ServiceManager, verb: &str) -> String {
    match manager {
        ServiceManager::Systemd => format!("sudo systemctl {verb} {UNIT}"),
        ServiceManager::SystemdUser => format!("systemctl --user {verb} {UNIT}"),
    }
}

/// The command that shows so many lines of the service's log, and follows it where that is wanted.
pub(crate) fn journal(manager: ServiceManager, lines: usize, follow: bool) -> String {
    let user = match manager {
        ServiceManager::Systemd => "",
        ServiceManager::SystemdUser => " --user",
    };
    let follow = if follow { " -f" } else { "" };
    format!("journalctl{user} -u {UNIT} -n {lines}{follow}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_those_of_the_manager() {
        assert_eq!(
            control(ServiceManager::Systemd, "start"),
            "sudo systemctl start memnode"
        );
        assert_eq!(
            control(ServiceManager::SystemdUser, "start"),
            "systemctl --user start memnode"
        );
        assert_eq!(
            journal(ServiceManager::Systemd, 10, false),
            "journalctl -u memnode -n 10"
        );
        assert_eq!(
            journal(ServiceManager::SystemdUser, 5, true),
            "journalctl --user -u memnode -n 5 -f"
        );
    }
}

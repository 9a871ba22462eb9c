//! The process of a node: whether it is there.

use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

/// How often to look. There is no event to wait for that every Unix has for a process that is not our child.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until a process is gone, or `timeout` passed. Returns whether it is gone.
pub(crate) async fn wait_until_gone(pid: u32, timeout: Duration) -> bool {
    let wait = async {
        while is_alive(pid) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(timeout, wait).await.is_ok()
}

/// Whether a process runs. One that ended and that its parent has not asked about yet does not run.
fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    let exists = !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    exists && !is_zombie(pid)
}

/// Where the system has /proc: the state stands behind the name, which is in parentheses (proc(5), /proc/pid/stat).
fn is_zombie(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|state| state.starts_with('Z'))
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ended_whether_or_not_its_parent_knows() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(0));
        let mut child = Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        assert!(is_alive(pid));
        drop(child.stdin.take());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        assert!(runtime.block_on(wait_until_gone(pid, Duration::from_secs(10))));
        child.wait().unwrap();
        assert!(!is_alive(pid));
    }
}

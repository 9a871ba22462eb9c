//! What the service manager is told that started the node, where one did: systemd, by the notices of sd_notify(3).
//!
//! It hears when programs and peers are served (`READY=1`), how the node is (`STATUS=`), that the node stops (`STOPPING=1`), and, where the unit
//! has a `WatchdogSec`, that it makes progress (`WATCHDOG=1`). A node that makes none is ended and started again by systemd. That takes
//! everything that it holds, so the notice is withheld only where [`Health`] finds a part that does not answer: no timer of its own sends it.

use std::sync::Arc;
use std::time::Duration;

use memproto::control::{NodeStatus, ServiceManager};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::service::Service;
use crate::size::ByteSize;

/// The variables through which the service manager reaches this very process. No program that it starts may have them: what such a program says
/// would pass for the node's word.
pub const PRIVATE_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// How often the node looks after itself where no watchdog asks for more.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How many looks fit into the time of the watchdog. sd_watchdog_enabled(3) asks for two; with four, a look that takes its whole time leaves room
/// for the next.
const LOOKS_PER_WATCHDOG: u32 = 4;

/// The parts of a node that must make progress for it to be of use.
#[derive(Clone)]
pub struct Health {
    service: Arc<Service>,
    workers: Vec<Handle>,
    accepting: Vec<(&'static str, AbortHandle)>,
}

impl Health {
    /// That of a node with this service, these threads for programs, and these tasks, with their names, that accept connections.
    pub fn new(
        service: Arc<Service>,
        workers: &[Handle],
        accepting: Vec<(&'static str, AbortHandle)>,
    ) -> Self {
        Self {
            service,
            workers: workers.to_vec(),
            accepting,
        }
    }

    /// Asks each thread that serves programs for the node's status, which takes the locks of the store and of the peers, and looks whether
    /// connections are still accepted. Returns the status.
    ///
    /// # Errors
    /// What makes no progress `within` the time.
    pub async fn look(&self, within: Duration) -> Result<NodeStatus, String> {
        if let Some((name, _)) = self.accepting.iter().find(|(_, task)| task.is_finished()) {
            return Err(format!("{name} has ended"));
        }
        let asked: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let service = Arc::clone(&self.service);
                worker.spawn(async move { service.status() })
            })
            .collect();
        let count = asked.len();
        let deadline = tokio::time::Instant::now() + within;
        let mut status = None;
        for (index, answer) in asked.into_iter().enumerate() {
            let answer = tokio::time::timeout_at(deadline, answer).await;
            status = Some(match answer {
                Ok(Ok(status)) => status,
                Ok(Err(_)) => return Err("the service failed when it was asked for its status".to_owned()),
                Err(_) => {
                    return Err(format!(
                        "thread {} of the {count} that serve programs does not answer",
                        index + 1
                    ));
                }
            });
        }
        status.ok_or_else(|| "no thread serves programs".to_owned())
    }
}

/// The service manager that started this process, where one did.
#[cfg(target_os = "linux")]
pub fn service_manager() -> Option<ServiceManager> {
    /// Where the manager of the whole machine listens; that of a user does so below the user's own folder.
    const SYSTEM_NOTIFY_SOCKET: &str = "/run/systemd/notify";
    let socket = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
    Some(if socket == SYSTEM_NOTIFY_SOCKET {
        ServiceManager::Systemd
    } else {
        ServiceManager::SystemdUser
    })
}

/// Elsewhere there is no systemd.
#[cfg(not(target_os = "linux"))]
pub fn service_manager() -> Option<ServiceManager> {
    None
}

/// Tells the service manager that the node is ready, then how it is until `stop` is cancelled, and then that it stops. Returns at once where there
/// is no service manager.
#[cfg(target_os = "linux")]
pub async fn report(health: Health, stop: CancellationToken) {
    use sd_notify::NotifyState;
    if service_manager().is_none() {
        return;
    }
    let notify = |states: &[NotifyState<'_>]| {
        if let Err(error) = sd_notify::notify(states) {
            error!(%error, "cannot reach the service manager");
        }
    };
    let watchdog = sd_notify::watchdog_enabled();
    let interval = watchdog.map_or(LOOK_INTERVAL, |time| LOOK_INTERVAL.min(time / LOOKS_PER_WATCHDOG));
    let look_again = async {
        let mut is_ready = false;
        loop {
            let (line, is_well) = match health.look(interval).await {
                Ok(status) => (status_line(&status), true),
                Err(reason) => {
                    error!(reason, "the node makes no progress");
                    (format!("Makes no progress: {reason}"), false)
                }
            };
            let mut states = vec![NotifyState::Status(&line)];
            if !is_ready {
                states.push(NotifyState::Ready);
                is_ready = true;
            }
            if is_well && watchdog.is_some() {
                states.push(NotifyState::Watchdog);
            }
            notify(&states);
            tokio::time::sleep(interval).await;
        }
    };
    stop.run_until_cancelled(look_again).await;
    notify(&[NotifyState::Stopping, NotifyState::Status("Stops")]);
}

/// Elsewhere nobody is told.
#[cfg(not(target_os = "linux"))]
pub async fn report(_health: Health, _stop: CancellationToken) {}

/// The line of `systemctl status`.
fn status_line(status: &NodeStatus) -> String {
    let peers = match status.peers_connected {
        1 => "1 peer".to_owned(),
        count => format!("{count} peers"),
    };
    format!(
        "{} of {} used, {peers} connected",
        ByteSize(status.used_bytes),
        ByteSize(status.budget_bytes)
    )
}

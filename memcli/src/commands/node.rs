//! `node start`, `node stop`, `node restart`, `node status`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use memproto::ErrorCode;
use memproto::control::{NodeStatus, ServiceManager};
use rustix::process::geteuid;
use serde::Serialize;

use crate::cli::NodeStartArgs;
use crate::context::{Context, not_running};
use crate::exit::{Failure, Outcome};
use crate::launch::launch;
use crate::output::printable;
use crate::process::wait_until_gone;
use crate::service;
use crate::size::show_size;
use crate::table;

/// How long a node may take to say goodbye to its peers and end.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a node in the background.
pub(super) async fn start(args: NodeStartArgs, context: &Context) -> Outcome {
    if let Some((_, status)) = context.probe().await? {
        return already_running(&args, &status, context);
    }
    let options = context
        .places()
        .into_iter()
        .chain(memnode_options(args))
        .collect();
    let status = launch(context, options).await?;
    context.output.confirm(&status, || {
        format!(
            "Starting MemCloud node '{}' on port {}...\nNode started successfully (PID: {})",
            printable(&status.name),
            status
                .peer_addresses
                .first()
                .map_or(0, std::net::SocketAddr::port),
            status.pid
        )
    })
}

/// The options of `memnode` that stand for ours.
fn memnode_options(args: NodeStartArgs) -> Vec<OsString> {
    let mut options: Vec<OsString> = Vec::new();
    let mut add = |flag: &str, value: Option<String>| {
        options.extend(value.into_iter().flat_map(|value| [flag.into(), value.into()]));
    };
    add("--name", args.name);
    add("--port", args.port.map(|port| port.to_string()));
    add("--memory", args.memory);
    add("--listen", args.listen.map(|address| address.to_string()));
    add(
        "--default-grant",
        args.default_grant.map(|bytes| bytes.to_string()),
    );
    options.extend(args.no_discovery.then(|| "--no-discovery".into()));
    options.extend(args.rest);
    options
}

/// A node answers already. That is fine where it is the one that was asked for; scripts start it to be sure.
fn already_running(args: &NodeStartArgs, status: &NodeStatus, context: &Context) -> Outcome {
    let text = running_text(status);
    let asked_for_another = args.name.as_ref().is_some_and(|name| *name != status.name)
        || args
            .memory
            .as_deref()
            .is_some_and(|size| size.parse() != Ok(status.budget_bytes) && !size.ends_with('%'))
        || args.port.is_some_and(|port| {
            port != 0 && !status.peer_addresses.iter().any(|address| address.port() == port)
        });
    if asked_for_another {
        return Err(Failure::Other(format!(
            "{text}, with other options; stop it first with: memcli node stop, or start another one beside it with \
             --home FOLDER"
        )));
    }
    context.output.confirm(status, || text)
}

/// That a node runs, and as what.
fn running_text(status: &NodeStatus) -> String {
    let role = match status.service_manager {
        Some(ServiceManager::Systemd) => " as a service of this machine",
        Some(ServiceManager::SystemdUser) => " as a service of this user",
        None => "",
    };
    format!(
        "MemCloud node '{}' is already running{role} (PID: {})",
        printable(&status.name),
        status.pid
    )
}

/// What `node stop --json` prints.
#[derive(Serialize)]
struct Stopped {
    stopped: bool,
    pid: u32,
}

/// Asks the node to stop and waits until its process is gone.
pub(super) async fn stop(context: &Context) -> Outcome {
    let status = stop_running(context, |_| Ok(())).await?;
    context.output.confirm(
        &Stopped {
            stopped: true,
            pid: status.pid,
        },
        || stopped_text(&status),
    )
}

/// That a node has stopped; of a service also how it comes back, for `node start` would start another one.
fn stopped_text(status: &NodeStatus) -> String {
    let text = format!("Node '{}' stopped (PID: {})", printable(&status.name), status.pid);
    match status.service_manager {
        Some(manager) => format!(
            "{text}. It is a service, and starts again with this machine, or now with: {}",
            service::control(manager, "start")
        ),
        None => text,
    }
}

/// Stops the node and starts it again with the options that it has.
pub(super) async fn restart(context: &Context) -> Outcome {
    let socket = context.socket()?;
    let before = stop_running(context, |status| can_restart(status, &socket)).await?;
    let options = before.started_with.unwrap_or_default();
    let status = launch(context, options.into_iter().map(OsString::from).collect()).await?;
    context.output.confirm(&status, || {
        format!(
            "Node '{}' restarted (PID: {}, version {}; it was PID {}, version {})",
            printable(&status.name),
            status.pid,
            printable(&status.version),
            before.pid,
            printable(&before.version),
        )
    })
}

/// Whether a node is ours to start again: in the background by itself, and of this user.
fn can_restart(status: &NodeStatus, socket: &Path) -> Outcome {
    let name = printable(&status.name);
    let pid = status.pid;
    if let Some(manager) = status.service_manager {
        return Err(Failure::Other(format!(
            "node '{name}' (PID: {pid}) is a service: restart it with: {}",
            service::control(manager, "restart")
        )));
    }
    if status.started_with.is_none() {
        return Err(Failure::Other(format!(
            "node '{name}' (PID: {pid}) was not started by `memcli node start`: restart it where it was started"
        )));
    }
    let owner = fs::metadata(socket).map(|metadata| metadata.uid());
    // Started again by root, another person's node would leave them files that they cannot write.
    if owner.is_ok_and(|owner| owner != geteuid().as_raw()) {
        return Err(Failure::Other(format!(
            "node '{name}' (PID: {pid}) belongs to another user, who can restart it with: memcli node restart"
        )));
    }
    Ok(())
}

/// Asks the running node to stop, unless `check` objects, and waits until its process is gone. Returns what it said of itself.
async fn stop_running(context: &Context, check: impl FnOnce(&NodeStatus) -> Outcome) -> Outcome<NodeStatus> {
    let Some((cloud, status)) = context.probe().await? else {
        return Err(not_running(&context.socket()?));
    };
    check(&status)?;
    match cloud.stop_node().await {
        // It may be gone before its answer came through.
        Ok(()) | Err(memsdk::Error::ConnectionLost) => {}
        Err(error) => return Err(error.into()),
    }
    if !wait_until_gone(status.pid, STOP_TIMEOUT).await {
        return Err(Failure::api(
            ErrorCode::Timeout,
            format!(
                "node '{}' agreed to stop, but its process {pid} still runs after {} s; see `memcli logs`, and end \
                 it with: kill -9 {pid}",
                printable(&status.name),
                STOP_TIMEOUT.as_secs(),
                pid = status.pid
            ),
        ));
    }
    Ok(status)
}

/// Shows who the node is.
pub(super) async fn status(context: &Context) -> Outcome {
    let status = context.connect().await?.status().await?;
    context.output.show(&status, || show_status(&status))
}

fn show_status(status: &NodeStatus) -> String {
    let addresses: Vec<String> = status.peer_addresses.iter().map(ToString::to_string).collect();
    let fields = table::fields([
        ("id", status.node_id.fingerprint()),
        ("version", status.version.clone()),
        ("running for", show_seconds(status.uptime_secs)),
        ("listens at", addresses.join(", ")),
        ("connected peers", status.peers_connected.to_string()),
        (
            "memory",
            format!(
                "{} of {} used",
                show_size(status.used_bytes),
                show_size(status.budget_bytes)
            ),
        ),
        ("files", status.home.display().to_string()),
        ("socket", status.socket.display().to_string()),
        (
            "TCP API",
            status
                .api_address
                .map_or_else(|| "off".to_owned(), |address| address.to_string()),
        ),
    ]);
    let warnings: String = status
        .warnings
        .iter()
        .map(|warning| format!("\nwarning: {}", printable(warning)))
        .collect();
    format!(
        "MemCloud node '{}' is running (PID: {})\n{fields}{warnings}",
        printable(&status.name),
        status.pid
    )
}

/// Seconds in the units that people use, such as `2h 5m`.
pub(super) fn show_seconds(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use memproto::NodeId;

    use super::*;

    fn args() -> NodeStartArgs {
        NodeStartArgs {
            name: Some("NodeA".to_owned()),
            port: Some(0),
            memory: Some("4294967296".to_owned()),
            listen: None,
            default_grant: None,
            no_discovery: true,
            rest: vec!["--log-level".into(), "debug".into()],
        }
    }

    fn example() -> NodeStatus {
        NodeStatus {
            name: "NodeA".to_owned(),
            node_id: NodeId::from_bytes([0xa1; 16]),
            public_key: "00".repeat(32),
            version: "0.1.0".to_owned(),
            pid: 12345,
            uptime_secs: 7500,
            home: "/home/ann/.memcloud".into(),
            socket: "/run/user/1000/memcloud/memnode.sock".into(),
            peer_addresses: vec!["0.0.0.0:8080".parse().unwrap(), "[::]:8080".parse().unwrap()],
            api_address: Some("127.0.0.1:7070".parse().unwrap()),
            budget_bytes: 4 << 30,
            used_bytes: 1536 << 20,
            peers_connected: 1,
            log_file: None,
            service_manager: None,
            warnings: Vec::new(),
            started_with: None,
        }
    }

    #[test]
    fn options_become_those_of_memnode() {
        let options = memnode_options(args());
        let expected = [
            "--name",
            "NodeA",
            "--port",
            "0",
            "--memory",
            "4294967296",
            "--no-discovery",
            "--log-level",
            "debug",
        ];
        assert_eq!(options, expected);
    }

    #[test]
    fn a_service_is_told_from_a_node_that_a_person_started() {
        let by = |service_manager| NodeStatus {
            service_manager,
            ..example()
        };
        assert_eq!(
            running_text(&by(None)),
            "MemCloud node 'NodeA' is already running (PID: 12345)"
        );
        assert_eq!(
            running_text(&by(Some(ServiceManager::Systemd))),
            "MemCloud node 'NodeA' is already running as a service of this machine (PID: 12345)"
        );
        assert_eq!(stopped_text(&by(None)), "Node 'NodeA' stopped (PID: 12345)");
        let text = stopped_text(&by(Some(ServiceManager::SystemdUser)));
        assert!(
            text.ends_with("or now with: systemctl --user start memnode"),
            "{text}"
        );
    }

    #[test]
    fn status_reads_as_a_card() {
        assert_eq!(
            show_status(&example()),
            "\
MemCloud node 'NodeA' is running (PID: 12345)
  id               a1a1 a1a1 a1a1 a1a1 a1a1 a1a1 a1a1 a1a1
  version          0.1.0
  running for      2h 5m
  listens at       0.0.0.0:8080, [::]:8080
  connected peers  1
  memory           1.5 GiB of 4.0 GiB used
  files            /home/ann/.memcloud
  socket           /run/user/1000/memcloud/memnode.sock
  TCP API          127.0.0.1:7070"
        );
    }
}

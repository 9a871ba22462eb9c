//! `logs`: works whether or not the node runs.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use memproto::control::ServiceManager;
use serde::Serialize;

use crate::cli::LogsArgs;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::launch::LOG_NAME;
use crate::log_file::{Follower, last_lines};
use crate::output::{printable, write_json, write_raw};
use crate::service;

/// How often to look for new lines: soon enough to seem at once, seldom enough to cost nothing.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// What `logs --json` prints.
#[derive(Serialize)]
struct Log<'a> {
    file: PathBuf,
    lines: Vec<&'a str>,
}

/// What `logs --follow --json` prints for each new line.
#[derive(Serialize)]
struct Line<'a> {
    line: &'a str,
}

/// Prints the end of the log, and what is written to it from then on.
pub(super) async fn logs(args: LogsArgs, context: &Context) -> Outcome {
    let path = log_path(&args, context).await?;
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let services = if cfg!(target_os = "linux") {
                let command = service::journal(ServiceManager::Systemd, args.lines, args.follow);
                format!(". The log of a service of this machine is shown by: {command}")
            } else {
                String::new()
            };
            Failure::Other(format!(
                "there is no log at {}: no node was started there yet{services}",
                path.display()
            ))
        }
        _ => Failure::reading(path.display(), &error),
    };
    let mut file = File::open(&path).map_err(cannot)?;
    let (lines, end) = last_lines(&mut file, args.lines, 0).map_err(cannot)?;
    let is_json = context.output.is_json();
    match (is_json, args.follow) {
        (true, false) => {
            return write_json(&Log {
                file: path.clone(),
                lines: lines.lines().collect(),
            });
        }
        _ => print(&lines, is_json)?,
    }
    if !args.follow {
        return Ok(());
    }
    let mut follower = Follower::new(&path, file, end);
    loop {
        print(&follower.next_lines().map_err(cannot)?, is_json)?;
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
}

/// The log of the node that answers, else that of the home that the options name.
///
/// # Errors
/// Where the service manager has the log, with the command that shows it.
async fn log_path(args: &LogsArgs, context: &Context) -> Outcome<PathBuf> {
    let Ok(Some((_, status))) = context.probe().await else {
        return Ok(context.home()?.join(LOG_NAME));
    };
    match (status.log_file, status.service_manager) {
        (Some(file), _) => Ok(file),
        (None, Some(manager)) => Err(Failure::Other(format!(
            "node '{}' is a service, whose log the system keeps; it is shown by: {}",
            printable(&status.name),
            service::journal(manager, args.lines, args.follow)
        ))),
        // It says nothing of its log: it may be of an older version, which has it in its home.
        (None, None) => Ok(status.home.join(LOG_NAME)),
    }
}

fn print(lines: &str, is_json: bool) -> Outcome {
    if is_json {
        lines.lines().try_for_each(|line| write_json(&Line { line }))
    } else {
        write_raw(lines.as_bytes())
    }
}

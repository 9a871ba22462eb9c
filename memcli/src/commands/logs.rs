//! `logs`: works whether or not the node runs.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::cli::LogsArgs;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::launch::LOG_NAME;
use crate::log_file::{Follower, last_lines};
use crate::output::{write_json, write_raw};

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
    let path = log_path(context).await?;
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::Other(format!(
            "there is no log at {}: no node was started there yet",
            path.display()
        )),
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
async fn log_path(context: &Context) -> Outcome<PathBuf> {
    let home = match context.probe().await {
        Ok(Some((_, status))) => status.home,
        _ => context.home()?,
    };
    Ok(home.join(LOG_NAME))
}

fn print(lines: &str, is_json: bool) -> Outcome {
    if is_json {
        lines.lines().try_for_each(|line| write_json(&Line { line }))
    } else {
        write_raw(lines.as_bytes())
    }
}

//! `version`.

use serde::Serialize;

use crate::context::Context;
use crate::exit::Outcome;
use crate::output::printable;

/// What `version --json` prints.
#[derive(Serialize)]
struct Versions {
    memcli: &'static str,
    /// Absent where no node answers.
    memnode: Option<String>,
}

/// Prints the versions; a node that is not running is no error here.
pub(super) async fn version(context: &Context) -> Outcome {
    let node = context.probe().await.ok().flatten().map(|(_, status)| status);
    let memcli = env!("CARGO_PKG_VERSION");
    let versions = Versions {
        memcli,
        memnode: node.as_ref().map(|status| status.version.clone()),
    };
    context.output.show(&versions, || {
        let memnode = match &node {
            Some(status) => format!(
                "{} ('{}', PID: {})",
                status.version,
                printable(&status.name),
                status.pid
            ),
            None => "not running".to_owned(),
        };
        format!("memcli  {memcli}\nmemnode {memnode}")
    })
}

//! Notifications on the desktop that somebody asks for consent, for the person who sits before it without a terminal.
//!
//! They are shown by a program that desktops have anyway: `notify-send` (freedesktop), `osascript` (macOS). A crate for it would bring
//! a client of D-Bus into every node, servers without a desktop included. Nothing here holds up the node: each notification is shown by
//! a process with a deadline, and what arrives shortly after one waits for the next. Texts are arguments of the program, and pass through no shell.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use memproto::NodeId;
use memproto::control::{ConsentRequest, ConsentWait, ConsentWarning};
use tokio::process::Command;
use tracing::debug;

use crate::peer::Peers;
use crate::supervisor::PRIVATE_VARIABLES;

/// The shortest time between two notifications: peers that come and go must not fill a screen.
const PAUSE: Duration = Duration::from_secs(10);

/// How long the program may take. It hands the text to the desktop and ends; without a desktop it may wait for one.
const SHOW_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one look at the questions waits for others. Any time would do.
const WAIT_STEP: Duration = Duration::from_secs(10 * 60);

/// Shows texts on the desktop of this machine.
#[derive(Clone, Debug)]
pub struct Desktop {
    program: PathBuf,
    dialect: Dialect,
}

/// Which arguments a program takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dialect {
    /// `notify-send`, whose second text may have markup.
    NotifySend,
    /// `osascript`, with a script that takes the texts as its arguments.
    Osascript,
}

/// What a notification says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The line in bold.
    pub title: String,
    /// What stands below.
    pub text: String,
}

impl Desktop {
    /// The desktop of this system; `None` where there is no way to reach it.
    pub fn of_this_system() -> Option<Self> {
        let (program, dialect) = if cfg!(target_os = "macos") {
            ("osascript", Dialect::Osascript)
        } else if cfg!(unix) {
            ("notify-send", Dialect::NotifySend)
        } else {
            return None;
        };
        Some(Self {
            program: program.into(),
            dialect,
        })
    }

    /// Shows a notice.
    ///
    /// # Errors
    /// Where the program is not there, fails, or does not end in time, in which case it is killed.
    pub async fn show(&self, notice: &Notice) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        for variable in PRIVATE_VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command
            .args(self.dialect.arguments(notice))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let ended = tokio::time::timeout(SHOW_TIMEOUT, child.wait()).await??;
        if ended.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("it ended with {ended}")))
        }
    }
}

impl Dialect {
    fn arguments(self, Notice { title, text }: &Notice) -> Vec<String> {
        let all: &[&str] = match self {
            Dialect::NotifySend => &["--app-name=MemCloud", "--", title, &without_markup(text)],
            Dialect::Osascript => &[
                "-e",
                "on run argv",
                "-e",
                "display notification (item 2 of argv) with title \"MemCloud\" subtitle (item 1 of argv)",
                "-e",
                "end run",
                title,
                text,
            ],
        };
        all.iter().map(|argument| (*argument).to_owned()).collect()
    }
}

/// The body of a freedesktop notification may hold markup, so that text must not look like it.
fn without_markup(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;"),
    )
}

/// The command that answers the questions of a node with this folder.
pub fn answering_command(home: &Path, default_home: Option<&Path>) -> String {
    if Some(home) == default_home {
        "memcli consent".to_owned()
    } else {
        format!("memcli --home {} consent", home.display())
    }
}

/// Shows a notice for each question that comes up, until the node stops; several at once where they come quickly.
pub async fn tell_of_questions(peers: Arc<Peers>, desktop: Desktop, command: String) {
    let show = |notice: Notice| {
        let desktop = desktop.clone();
        async move {
            if let Err(error) = desktop.show(&notice).await {
                debug!(%error, program = %desktop.program.display(), "a notification was not shown");
            }
        }
    };
    tell(&peers, &command, PAUSE, show).await;
}

/// The work of [`tell_of_questions`], for any way to show a notice.
pub(crate) async fn tell<F>(peers: &Peers, command: &str, pause: Duration, show: impl Fn(Notice) -> F)
where
    F: Future<Output = ()>,
{
    let mut told: HashSet<(NodeId, String)> = HashSet::new();
    let mut known_revision = None;
    loop {
        let state = peers
            .consent_wait(ConsentWait {
                known_revision,
                timeout_ms: WAIT_STEP.as_millis() as u64,
            })
            .await;
        // Nothing changes any more: the node stops, and whoever runs this with it.
        if peers.is_stopping() {
            return;
        }
        known_revision = Some(state.revision);
        let question = |request: &ConsentRequest| (request.id, request.code.clone());
        told.retain(|known| state.requests.iter().any(|request| question(request) == *known));
        let new: Vec<&ConsentRequest> = state
            .requests
            .iter()
            .filter(|request| !told.contains(&question(request)))
            .collect();
        if new.is_empty() {
            continue;
        }
        let notice = notice(&new, command);
        told.extend(new.into_iter().map(question));
        show(notice).await;
        tokio::time::sleep(pause).await;
    }
}

/// What is said of questions, of which there is at least one.
fn notice(questions: &[&ConsentRequest], command: &str) -> Notice {
    match questions {
        [one] => {
            let warning = match one.warning {
                Some(ConsentWarning::KnownNameNewKey) => {
                    "WARNING: a trusted device has this name, but another key. "
                }
                _ => "",
            };
            Notice {
                title: format!("'{}' asks to connect", one.name),
                text: format!(
                    "{warning}From {}, id {}, code {}. Answer with: {command}",
                    one.address.ip(),
                    one.id.short(),
                    one.code
                ),
            }
        }
        several => {
            let names: Vec<String> = several.iter().map(|one| format!("'{}'", one.name)).collect();
            Notice {
                title: format!("{} nodes ask to connect", several.len()),
                text: format!("{}. Answer with: {command}", names.join(", ")),
            }
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;

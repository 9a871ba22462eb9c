//! `connect`: asks for a link and waits for what the other person says.

use std::time::Duration;

use memproto::ErrorCode;
use memproto::control::{ConnectRequest, ConsentWarning, PeerInfo, PeerState, PeerWait};
use memsdk::MemCloud;
use tokio::time::Instant;

use crate::cli::ConnectArgs;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::interrupt::unless_interrupted;
use crate::output::printable;
use crate::progress::Spinner;
use crate::size::show_size;

/// How long one question to the node waits. Then it is asked again, so that a node that hangs is noticed.
const WAIT_STEP: Duration = Duration::from_secs(10);

/// Connects to another node.
pub(super) async fn connect(args: ConnectArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let request = ConnectRequest {
        target: args.target,
        quota_bytes: args.quota,
        once: args.once,
        accept_new_key: args.accept_new_key,
    };
    let deadline = Instant::now() + args.timeout;
    let dial = {
        let _spinner = Spinner::new(context.output, &format!("connecting to {}", request.target));
        cloud.connect_peer(request).await
    };
    let mut peer = dial?;
    if !args.no_wait && is_undecided(peer.state) {
        let _spinner = Spinner::new(context.output, &waiting_text(&peer));
        let note = "the question stays open on the other machine until it expires";
        peer = unless_interrupted(note, wait(&cloud, peer, deadline, args.timeout)).await?;
    }
    if let Some(warning) = peer.warning {
        context.output.note(warning_text(warning));
    }
    match peer.state {
        PeerState::Connected => context.output.confirm(&peer, || connected_text(&peer)),
        state if args.no_wait && is_undecided(state) => context.output.show(&peer, || waiting_text(&peer)),
        _ => Err(why_not(&peer)),
    }
}

/// Waits until the other person answered or the link is gone.
async fn wait(
    cloud: &MemCloud,
    mut peer: PeerInfo,
    deadline: Instant,
    timeout: Duration,
) -> Outcome<PeerInfo> {
    while is_undecided(peer.state) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::api(
                ErrorCode::Timeout,
                format!(
                    "'{}' has not agreed within {}; the question stays open there until it expires, see: memcli peer \
                     list",
                    peer.name,
                    humantime::format_duration(timeout)
                ),
            ));
        }
        let question = PeerWait {
            peer: peer.id.map_or_else(|| peer.name.clone(), |id| id.to_string()),
            known_state: peer.state,
            timeout_ms: left.min(WAIT_STEP).as_millis().max(1) as u64,
        };
        peer = cloud.wait_peer(question).await?;
    }
    Ok(peer)
}

/// Whether the answer is still to come.
fn is_undecided(state: PeerState) -> bool {
    match state {
        PeerState::Connecting | PeerState::WaitingForOurConsent | PeerState::WaitingForTheirConsent => true,
        PeerState::Connected | PeerState::Denied | PeerState::Lost | PeerState::Discovered => false,
    }
}

/// `waiting for NodeB to agree, code 482 913`
fn waiting_text(peer: &PeerInfo) -> String {
    let code = peer
        .code
        .as_deref()
        .map(|code| format!(", code {}", show_code(code)))
        .unwrap_or_default();
    match peer.state {
        PeerState::WaitingForOurConsent => {
            format!(
                "{} waits for your answer, see: memcli consent{code}",
                printable(&peer.name)
            )
        }
        PeerState::Connecting => format!("connecting to {}", printable(&peer.name)),
        _ => format!("waiting for {} to agree{code}", printable(&peer.name)),
    }
}

/// What two connected nodes have of each other, in lines.
pub(super) fn connected_text(peer: &PeerInfo) -> String {
    let id = peer.id.map(|id| format!(" ({})", id.short())).unwrap_or_default();
    let address = peer
        .address
        .map(|address| format!(" at {address}"))
        .unwrap_or_default();
    let lends = match peer.borrowed.map(|grant| grant.quota_bytes) {
        Some(0) => "\n  it lends no memory to this node".to_owned(),
        Some(bytes) => format!("\n  it lends {} to this node", show_size(bytes)),
        None => String::new(),
    };
    let gets = match peer.lent.map(|grant| grant.quota_bytes) {
        Some(0) => "\n  this node lends no memory to it".to_owned(),
        Some(bytes) => format!("\n  this node lends {} to it", show_size(bytes)),
        None => String::new(),
    };
    let for_how_long = match peer.trusts_us {
        Some(true) => "\n  it trusts this node for good",
        Some(false) => "\n  it allowed this connection once, and will ask again for the next one",
        None => "",
    };
    format!(
        "Connected to '{}'{id}{address}{lends}{gets}{for_how_long}",
        printable(&peer.name)
    )
}

fn why_not(peer: &PeerInfo) -> Failure {
    let (code, reason) = match peer.state {
        PeerState::Denied => (ErrorCode::Denied, "one of the two sides said no"),
        _ => (
            peer.last_error_code.unwrap_or(ErrorCode::PeerUnreachable),
            "the connection ended before both sides agreed",
        ),
    };
    let reason = peer.last_error.as_deref().unwrap_or(reason);
    Failure::api(code, format!("'{}' is not connected: {reason}", peer.name))
}

/// What is odd about a peer, in a sentence.
pub(super) fn warning_text(warning: ConsentWarning) -> &'static str {
    match warning {
        ConsentWarning::KnownNameNewKey => {
            "a trusted device has this name, but another key: make sure of the code"
        }
        ConsentWarning::KnownKeyNewName => "this device was known under another name before",
    }
}

/// The six digits in two groups, as people read them out: `482 913`.
pub(super) fn show_code(code: &str) -> String {
    match code.split_at_checked(3) {
        Some((first, second)) if code.len() == 6 => format!("{first} {second}"),
        _ => printable(code).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::peer::tests::example;

    #[test]
    fn the_code_stands_in_two_groups() {
        assert_eq!(show_code("482913"), "482 913");
        assert_eq!(show_code("12"), "12");
        assert_eq!(show_code("ééé"), "ééé");
    }

    #[test]
    fn the_screens_of_a_connection() {
        let peer = PeerInfo {
            state: PeerState::WaitingForTheirConsent,
            ..example("NodeB", "10.0.0.2:8080")
        };
        assert_eq!(waiting_text(&peer), "waiting for NodeB to agree, code 482 913");
        let id = peer.id.unwrap().short();
        assert_eq!(
            connected_text(&PeerInfo {
                state: PeerState::Connected,
                ..peer.clone()
            }),
            format!(
                "Connected to 'NodeB' ({id}) at 10.0.0.2:8080\n  it lends 2.0 GiB to this node\n  this node lends 1.0 \
                 GiB to it\n  it trusts this node for good"
            )
        );
        assert!(
            connected_text(&PeerInfo {
                trusts_us: Some(false),
                ..peer.clone()
            })
            .ends_with("it allowed this connection once, and will ask again for the next one")
        );
        let expired = why_not(&PeerInfo {
            state: PeerState::Discovered,
            last_error_code: Some(ErrorCode::Timeout),
            ..peer.clone()
        });
        assert_eq!(expired.status(), crate::exit::ExitStatus::Timeout);
        let denied = why_not(&PeerInfo {
            state: PeerState::Denied,
            ..peer.clone()
        });
        assert_eq!(denied.status(), crate::exit::ExitStatus::Denied);
        let lost = why_not(&PeerInfo {
            state: PeerState::Lost,
            last_error: Some("connection reset".to_owned()),
            ..peer
        });
        assert_eq!(lost.status(), crate::exit::ExitStatus::Peer);
        assert!(lost.to_string().ends_with("connected: connection reset"));
    }
}

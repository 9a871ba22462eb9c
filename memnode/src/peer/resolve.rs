//! From what a person types to the peer that is meant: a name, an id, or an unambiguous prefix of an id.

use memproto::NodeId;
use memproto::control::PeerState;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::limits::PEER_NAME_LEN_MAX;

use super::config::ID_PREFIX_MIN;

/// How many matches the message of an ambiguous name lists.
const MATCHES_LISTED_MAX: usize = 8;

/// A peer that may be meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) id: NodeId,
    pub(super) name: &'a str,
    pub(super) state: PeerState,
}

/// The one peer that is meant.
///
/// A whole id is always that peer. Otherwise names and prefixes count alike: a peer cannot take another one's place by
/// choosing a name that reads like its id.
///
/// # Errors
/// `UnknownPeer`; `AmbiguousPeer` with the matches.
pub(super) fn resolve<'a>(text: &str, candidates: impl Iterator<Item = Candidate<'a>>) -> ApiResult<NodeId> {
    if text.len() > PEER_NAME_LEN_MAX {
        return Err(ApiError::invalid(format!(
            "the name of a peer has {} bytes, at most {PEER_NAME_LEN_MAX} are allowed",
            text.len()
        )));
    }
    let prefix = text.to_ascii_lowercase();
    let is_prefix = (ID_PREFIX_MIN..=32).contains(&prefix.len());
    let mut matches: Vec<Candidate<'a>> = candidates
        .filter(|peer| peer.name == text || (is_prefix && peer.id.to_string().starts_with(&prefix)))
        .collect();
    if let Some(exact) = matches.iter().find(|peer| peer.id.to_string() == prefix) {
        return Ok(exact.id);
    }
    matches.sort_by(|a, b| a.name.cmp(b.name).then(a.id.cmp(&b.id)));
    match matches[..] {
        [] => Err(unknown(text)),
        [only] => Ok(only.id),
        _ => Err(ambiguous(text, &matches)),
    }
}

fn unknown(text: &str) -> ApiError {
    ApiError::new(
        ErrorCode::UnknownPeer,
        format!(
            "no known peer is called '{}', and no id begins with it. `memcli peer list` shows who is known, \
             `memcli connect HOST:PORT` reaches a node that was not found by itself",
            text.escape_debug()
        ),
    )
}

fn ambiguous(text: &str, matches: &[Candidate<'_>]) -> ApiError {
    let mut listed: Vec<String> = matches
        .iter()
        .take(MATCHES_LISTED_MAX)
        .map(|peer| format!("{} '{}' ({})", peer.id, peer.name, peer.state.as_words()))
        .collect();
    if matches.len() > MATCHES_LISTED_MAX {
        listed.push(format!("{} more", matches.len() - MATCHES_LISTED_MAX));
    }
    ApiError::new(
        ErrorCode::AmbiguousPeer,
        format!(
            "'{}' may mean {} peers: {}. Name the peer by its id or the first digits of it",
            text.escape_debug(),
            matches.len(),
            listed.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digits: &str) -> NodeId {
        format!("{digits:0<32}").parse().unwrap()
    }

    fn among(text: &str) -> ApiResult<NodeId> {
        let peers = [
            ("ab120", "NodeA"),
            ("ab121", "NodeB"),
            ("cd001", "Twin"),
            ("cd002", "Twin"),
            ("ef00", "ab12"),
        ];
        resolve(
            text,
            peers.iter().map(|(digits, name)| Candidate {
                id: id(digits),
                name,
                state: PeerState::Discovered,
            }),
        )
    }

    #[test]
    fn a_name_an_id_or_a_prefix_serves() {
        assert_eq!(among("NodeA"), Ok(id("ab120")));
        assert_eq!(among("AB121"), Ok(id("ab121")));
        assert_eq!(among(&id("cd002").to_string()), Ok(id("cd002")));
    }

    #[test]
    fn what_is_ambiguous_is_listed() {
        for (text, first, second) in [("Twin", "cd001", "cd002"), ("ab12", "ab120", "ab121")] {
            let error = among(text).unwrap_err();
            assert_eq!(error.code, ErrorCode::AmbiguousPeer);
            assert!(error.message.contains(&id(first).to_string()), "{error}");
            assert!(error.message.contains(&id(second).to_string()), "{error}");
        }
        // The name that reads like a prefix is one of the three matches, not the winner.
        assert!(among("ab12").unwrap_err().message.contains("3 peers"));
    }

    #[test]
    fn what_is_unknown_says_what_to_do() {
        for text in ["nodea", "ab", "", "cd003", "\u{1b}[2J"] {
            let error = among(text).unwrap_err();
            assert_eq!(error.code, ErrorCode::UnknownPeer, "{text:?}");
            assert!(error.message.contains("memcli connect"));
            assert!(!error.message.contains('\u{1b}'));
        }
        assert_eq!(
            among(&"x".repeat(256)).unwrap_err().code,
            ErrorCode::InvalidArgument
        );
    }
}

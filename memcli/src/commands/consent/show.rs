//! What is said of questions and answers.

use std::time::Duration;

use memproto::control::{ConsentAnswer, ConsentRequest, ConsentWarning};

use crate::commands::connect::show_code;
use crate::commands::node::show_seconds;
use crate::output::printable;
use crate::size::show_size;
use crate::table;

pub(super) fn show_decision(request: &ConsentRequest, answer: ConsentAnswer, quota: Option<u64>) -> String {
    let name = printable(&request.name);
    let id = request.id.short();
    let quota = match quota.unwrap_or(request.default_quota_bytes) {
        0 => "no memory".to_owned(),
        bytes => format!("up to {}", show_size(bytes)),
    };
    match answer {
        ConsentAnswer::Allow => {
            format!("Allowed '{name}' ({id}) until the connection ends; it may use {quota} here")
        }
        ConsentAnswer::Trust => format!("Trusted '{name}' ({id}) for good; it may use {quota} here"),
        ConsentAnswer::Deny => format!("Denied '{name}' ({id})"),
    }
}

pub(super) fn show_requests(requests: &[ConsentRequest], quota: Option<u64>) -> String {
    if requests.is_empty() {
        return "No node waits for an answer.".to_owned();
    }
    let all: Vec<String> = requests
        .iter()
        .map(|request| show_request(request, quota))
        .collect();
    all.join("\n\n")
}

fn show_request(request: &ConsentRequest, quota: Option<u64>) -> String {
    let mut text = show_facts(request, quota, Duration::ZERO);
    if let Some(warning) = request.warning {
        for line in warning_lines(warning) {
            text.push_str("\n  ");
            text.push_str(line);
        }
    }
    text
}

/// Who asks, for what, and how to be sure, some time after the node told it.
pub(super) fn show_facts(request: &ConsentRequest, quota: Option<u64>, since: Duration) -> String {
    let gets = show_size(quota.unwrap_or(request.default_quota_bytes));
    let since = since.as_secs();
    let fields = table::fields([
        ("from", request.address.to_string()),
        ("id", request.id.short()),
        ("fingerprint", printable(&request.fingerprint).into_owned()),
        (
            "code",
            format!(
                "{}  (the other screen must show the same)",
                show_code(&request.code)
            ),
        ),
        ("lends you", show_size(request.offered_quota_bytes)),
        (
            "gets here",
            if quota.is_some() {
                gets
            } else {
                format!("{gets}, unless you say otherwise (it names no amount)")
            },
        ),
        (
            "asked",
            format!(
                "{} ago, expires in {}",
                show_seconds(request.age_secs + since),
                show_seconds(request.expires_in_secs.saturating_sub(since))
            ),
        ),
    ]);
    format!("'{}' asks to connect\n{fields}", printable(&request.name))
}

/// What a warning means, in lines of a terminal.
pub(super) fn warning_lines(warning: ConsentWarning) -> &'static [&'static str] {
    match warning {
        ConsentWarning::KnownNameNewKey => &[
            "WARNING: a trusted device has this name, but another key. Either that machine",
            "was set up anew, or somebody pretends to be it: ask its owner first.",
        ],
        ConsentWarning::KnownKeyNewName => &["WARNING: this device is trusted already, under another name."],
    }
}

#[cfg(test)]
pub(super) mod tests {
    use memproto::NodeId;

    use super::*;

    pub(in crate::commands::consent) fn example(warning: Option<ConsentWarning>) -> ConsentRequest {
        let id = NodeId::from_bytes([0xb2; 16]);
        ConsentRequest {
            id,
            name: "NodeB".to_owned(),
            address: "10.0.0.2:51234".parse().unwrap(),
            fingerprint: id.fingerprint(),
            code: "482913".to_owned(),
            offered_quota_bytes: 2 << 30,
            default_quota_bytes: 1 << 30,
            age_secs: 10,
            expires_in_secs: 290,
            warning,
        }
    }

    #[test]
    fn a_request_shows_all_that_two_people_compare() {
        assert_eq!(
            show_request(&example(Some(ConsentWarning::KnownNameNewKey)), None),
            "\
'NodeB' asks to connect
  from         10.0.0.2:51234
  id           b2b2b2b2
  fingerprint  b2b2 b2b2 b2b2 b2b2 b2b2 b2b2 b2b2 b2b2
  code         482 913  (the other screen must show the same)
  lends you    2.0 GiB
  gets here    1.0 GiB, unless you say otherwise (it names no amount)
  asked        10s ago, expires in 4m 50s
  WARNING: a trusted device has this name, but another key. Either that machine
  was set up anew, or somebody pretends to be it: ask its owner first."
        );
        assert_eq!(show_requests(&[], None), "No node waits for an answer.");
        assert!(show_requests(&[example(None), example(None)], Some(0)).contains("gets here    0 B\n"));
    }

    #[test]
    fn time_goes_on_while_a_question_is_on_the_screen() {
        let later = show_facts(&example(None), None, Duration::from_secs(300));
        assert!(
            later.ends_with("asked        5m 10s ago, expires in 0s"),
            "{later}"
        );
    }

    /// The letters of two alphabets may look the same; the digits of the key tell them apart.
    #[test]
    fn a_name_that_looks_like_another_one_stands_beside_its_key() {
        let latin = example(None);
        let cyrillic = ConsentRequest {
            name: "N\u{043e}d\u{0435}B".to_owned(),
            id: NodeId::from_bytes([0xb3; 16]),
            fingerprint: NodeId::from_bytes([0xb3; 16]).fingerprint(),
            ..latin.clone()
        };
        for request in [latin, cyrillic] {
            let (shown, decided) = (
                show_request(&request, None),
                show_decision(&request, ConsentAnswer::Trust, None),
            );
            assert!(shown.contains(&request.id.short()) && shown.contains(&request.fingerprint));
            assert!(decided.contains(&request.id.short()), "{decided}");
        }
    }

    #[test]
    fn decisions_are_told_with_what_they_grant() {
        let tell = |answer, quota| show_decision(&example(None), answer, quota);
        assert_eq!(
            tell(ConsentAnswer::Allow, None),
            "Allowed 'NodeB' (b2b2b2b2) until the connection ends; it may use up to 1.0 GiB here"
        );
        assert_eq!(
            tell(ConsentAnswer::Trust, Some(0)),
            "Trusted 'NodeB' (b2b2b2b2) for good; it may use no memory here"
        );
        assert_eq!(tell(ConsentAnswer::Deny, None), "Denied 'NodeB' (b2b2b2b2)");
    }
}

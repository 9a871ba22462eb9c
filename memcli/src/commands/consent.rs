//! `consent`: the answers of the person at this machine.

use std::fmt;
use std::io;

use inquire::ui::RenderConfig;
use inquire::{InquireError, Select};
use memproto::control::{ConsentAnswer, ConsentDecision, ConsentRequest, ConsentWarning};
use memsdk::MemCloud;

use crate::cli::ConsentArgs;
use crate::commands::connect::show_code;
use crate::commands::node::show_seconds;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{printable, stderr_takes_color};
use crate::size::show_size;
use crate::table;

/// Answers one node as the options say, asks about all on a terminal, and lists them elsewhere.
pub(super) async fn consent(args: ConsentArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    if let Some((answer, peer)) = answer_given(&args) {
        let decision = ConsentDecision {
            peer,
            answer,
            quota_bytes: args.quota,
        };
        return decide(&cloud, decision, context).await;
    }
    let requests = cloud.consent_requests().await?;
    if !requests.is_empty() && context.output.can_ask() {
        return ask_about(&cloud, requests, args.quota, context).await;
    }
    context
        .output
        .show(&requests, || show_requests(&requests, args.quota))?;
    if !requests.is_empty() {
        context
            .output
            .note("answer with: memcli consent --allow ID, or --trust ID, or --deny ID");
    }
    Ok(())
}

fn answer_given(args: &ConsentArgs) -> Option<(ConsentAnswer, String)> {
    let answers = [
        (ConsentAnswer::Allow, &args.allow),
        (ConsentAnswer::Trust, &args.trust),
        (ConsentAnswer::Deny, &args.deny),
    ];
    answers
        .into_iter()
        .find_map(|(answer, peer)| Some((answer, peer.clone()?)))
}

async fn decide(cloud: &MemCloud, decision: ConsentDecision, context: &Context) -> Outcome {
    let (answer, quota) = (decision.answer, decision.quota_bytes);
    let request = cloud.decide(decision).await?;
    context
        .output
        .confirm(&request, || show_decision(&request, answer, quota))
}

fn show_decision(request: &ConsentRequest, answer: ConsentAnswer, quota: Option<u64>) -> String {
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

async fn ask_about(
    cloud: &MemCloud,
    requests: Vec<ConsentRequest>,
    quota: Option<u64>,
    context: &Context,
) -> Outcome {
    for request in requests {
        context.output.progress_lines(&show_request(&request, quota));
        let is_suspicious = request.warning.is_some();
        let choice = ask(
            "Your answer:",
            Choice::ALL.to_vec(),
            if is_suspicious { Choice::DENY_AT } else { 0 },
        );
        let Some(Choice {
            answer: Some(answer), ..
        }) = choice.await?
        else {
            continue;
        };
        let decision = ConsentDecision {
            peer: request.id.to_string(),
            answer,
            quota_bytes: quota.filter(|_| answer != ConsentAnswer::Deny),
        };
        match decide(cloud, decision, context).await {
            // It may have expired while the person thought; that must not keep the others waiting.
            Err(Failure::Api(error)) => context.output.note(&error.message),
            other => other?,
        }
    }
    Ok(())
}

/// One line of the question.
#[derive(Clone, Copy, Debug)]
struct Choice {
    answer: Option<ConsentAnswer>,
    text: &'static str,
}

impl Choice {
    const ALL: [Choice; 4] = [
        Choice {
            answer: Some(ConsentAnswer::Allow),
            text: "Allow once    (until the connection ends)",
        },
        Choice {
            answer: Some(ConsentAnswer::Trust),
            text: "Trust always  (it may come back without asking)",
        },
        Choice {
            answer: Some(ConsentAnswer::Deny),
            text: "Deny",
        },
        Choice {
            answer: None,
            text: "Answer later",
        },
    ];

    /// Where [`ConsentAnswer::Deny`] stands: what Enter alone does where something is odd.
    const DENY_AT: usize = 2;
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Asks a question with the arrow keys. `None` where the person pressed Escape.
pub(super) async fn ask<T>(message: &'static str, choices: Vec<T>, start: usize) -> Outcome<Option<T>>
where
    T: fmt::Display + Send + 'static,
{
    let style = if stderr_takes_color() {
        RenderConfig::default_colored()
    } else {
        RenderConfig::empty()
    };
    let question = move || {
        Select::new(message, choices)
            .with_starting_cursor(start)
            .without_filtering()
            .without_help_message()
            .with_render_config(style)
            .prompt_skippable()
    };
    let answer = tokio::task::spawn_blocking(question)
        .await
        .map_err(|error| Failure::Other(format!("cannot ask: {error}")))?;
    answer.map_err(|error| match error {
        InquireError::OperationInterrupted => {
            Failure::Interrupted("interrupted: this question stays open".to_owned())
        }
        InquireError::IO(error) if error.kind() == io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        other => Failure::Other(format!("cannot ask: {other}")),
    })
}

fn show_requests(requests: &[ConsentRequest], quota: Option<u64>) -> String {
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
    let wants = show_size(quota.unwrap_or(request.default_quota_bytes));
    let fields = table::fields([
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
            "may use here",
            if quota.is_some() {
                wants
            } else {
                format!("{wants}  (--quota SIZE changes it)")
            },
        ),
        (
            "asked",
            format!(
                "{} ago, expires in {}",
                show_seconds(request.age_secs),
                show_seconds(request.expires_in_secs)
            ),
        ),
    ]);
    let warning = request
        .warning
        .map(|warning| format!("\n  WARNING: {}", warning_text(warning)));
    format!(
        "'{}' asks to connect, from {}\n{fields}{}",
        printable(&request.name),
        request.address,
        warning.unwrap_or_default()
    )
}

fn warning_text(warning: ConsentWarning) -> &'static str {
    match warning {
        ConsentWarning::KnownNameNewKey => {
            "a trusted device has this name, but another key. Either that machine\n  was set up anew, or somebody \
             pretends to be it: ask its owner before you agree."
        }
        ConsentWarning::KnownKeyNewName => "this device is trusted already, under another name.",
    }
}

#[cfg(test)]
mod tests {
    use memproto::NodeId;

    use super::*;

    fn example(warning: Option<ConsentWarning>) -> ConsentRequest {
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
'NodeB' asks to connect, from 10.0.0.2:51234
  id            b2b2b2b2
  fingerprint   b2b2 b2b2 b2b2 b2b2 b2b2 b2b2 b2b2 b2b2
  code          482 913  (the other screen must show the same)
  lends you     2.0 GiB
  may use here  1.0 GiB  (--quota SIZE changes it)
  asked         10s ago, expires in 4m 50s
  WARNING: a trusted device has this name, but another key. Either that machine
  was set up anew, or somebody pretends to be it: ask its owner before you agree."
        );
        assert_eq!(show_requests(&[], None), "No node waits for an answer.");
        assert!(show_requests(&[example(None), example(None)], Some(0)).contains("may use here  0 B\n"));
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

    #[test]
    fn enter_alone_denies_where_something_is_odd() {
        assert_eq!(Choice::ALL[Choice::DENY_AT].answer, Some(ConsentAnswer::Deny));
    }
}

//! `consent`: the answers of the person at this machine.
//!
//! In a terminal [`live`] asks, by the rules of [`dialog`]; scripts list, wait and answer with options. What is said of a question stands in
//! [`show`].

mod dialog;
mod live;
mod show;

use std::fmt;
use std::io;
use std::time::Duration;

use inquire::ui::RenderConfig;
use inquire::{InquireError, Select};
use memproto::ErrorCode;
use memproto::control::{ConsentAnswer, ConsentDecision, ConsentRequest, ConsentWait};
use memsdk::MemCloud;
use tokio::time::Instant;

use self::show::{show_decision, show_requests};
use crate::cli::ConsentArgs;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::interrupt::unless_interrupted;
use crate::output::stderr_takes_color;
use crate::screen::is_dumb;

/// How long one question to the node waits. Then it is asked again, so that a node that hangs is noticed.
const WAIT_STEP: Duration = Duration::from_secs(10);

/// Answers one node as the options say, asks about all in a terminal, and lists them elsewhere.
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
    let output = context.output;
    if !args.wait && output.can_ask() && !is_dumb() {
        return live::ask_about_all(&cloud, args.quota, context).await;
    }
    let requests = if args.wait {
        unless_interrupted("nothing was answered", first_requests(&cloud, args.timeout)).await?
    } else {
        cloud.consent_requests().await?
    };
    output.show(&requests, || show_requests(&requests, args.quota))?;
    if !requests.is_empty() {
        output.note("answer with: memcli consent --allow ID, or --trust ID, or --deny ID");
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

/// Waits until at least one node waits for an answer.
async fn first_requests(cloud: &MemCloud, timeout: Option<Duration>) -> Outcome<Vec<ConsentRequest>> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut known_revision = None;
    loop {
        let left = deadline.map_or(WAIT_STEP, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        let wait = ConsentWait {
            known_revision,
            timeout_ms: left.min(WAIT_STEP).as_millis() as u64,
        };
        let state = cloud.wait_consent(wait).await?;
        if !state.requests.is_empty() {
            return Ok(state.requests);
        }
        if left.is_zero() {
            return Err(Failure::api(
                ErrorCode::Timeout,
                format!(
                    "no node asked to connect within {}",
                    humantime::format_duration(timeout.unwrap_or_default())
                ),
            ));
        }
        known_revision = Some(state.revision);
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
            Failure::Interrupted("interrupted: nothing was changed".to_owned())
        }
        InquireError::IO(error) if error.kind() == io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        other => Failure::Other(format!("cannot ask: {other}")),
    })
}

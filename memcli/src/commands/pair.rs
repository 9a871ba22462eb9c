//! `pair`: one machine shows a code, the other one is told it, and both trust each other for good.

use std::time::Duration;

use memproto::control::{PairCodeShown, PairJoin, PeerInfo};

use crate::cli::PairArgs;
use crate::commands::connect::connected_text;
use crate::context::Context;
use crate::exit::Outcome;
use crate::interrupt::unless_interrupted;
use crate::progress::Spinner;

/// Shows a code, or tries one.
pub(super) async fn pair(args: PairArgs, context: &Context) -> Outcome {
    match args.code {
        None => offer(args.quota, context).await,
        Some(code) => {
            let join = PairJoin {
                code,
                at: args.at,
                quota_bytes: args.quota,
            };
            join_with(join, context).await
        }
    }
}

async fn offer(quota_bytes: Option<u64>, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let shown = cloud.offer_pairing(quota_bytes).await?;
    // Also with --quiet: without the code the command has no sense.
    context.output.show(&shown, || code_text(&shown))?;
    let peer = {
        let _spinner = Spinner::new(
            context.output,
            "waiting for the code to be typed at the other machine",
        );
        let note = "the code is no longer good";
        unless_interrupted(note, async { Ok(cloud.wait_pairing(&shown).await?) }).await?
    };
    context.output.confirm(&peer, || paired_text(&peer))
}

async fn join_with(join: PairJoin, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let peer = {
        let _spinner = Spinner::new(context.output, "pairing");
        let note = "whether the code is still good shows on the other machine";
        unless_interrupted(note, async { Ok(cloud.pair(join).await?) }).await?
    };
    context.output.confirm(&peer, || paired_text(&peer))
}

fn code_text(shown: &PairCodeShown) -> String {
    let life = humantime::format_duration(Duration::from_secs(shown.expires_in_secs));
    format!(
        "Code: {code}   (good for {life}, one attempt)\nAt the other machine: memcli pair {code}",
        code = shown.code
    )
}

fn paired_text(peer: &PeerInfo) -> String {
    format!("{}\n  both trust each other for good", connected_text(peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::peer::tests::example;

    #[test]
    fn the_screens_of_a_pairing() {
        let shown = PairCodeShown {
            number: 1,
            code: "417-582-9310".to_owned(),
            expires_in_secs: 300,
        };
        assert_eq!(
            code_text(&shown),
            "Code: 417-582-9310   (good for 5m, one attempt)\nAt the other machine: memcli pair 417-582-9310"
        );
        let text = paired_text(&example("NodeB", "10.0.0.2:8080"));
        assert!(text.starts_with("Connected to 'NodeB'"), "{text}");
        assert!(text.ends_with("\n  both trust each other for good"), "{text}");
    }
}

//! `flush`.

use memproto::control::Freed;
use memsdk::MemCloud;

use crate::cli::FlushArgs;
use crate::commands::consent::ask;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::interrupt::unless_interrupted;
use crate::output::printable;
use crate::progress::Spinner;
use crate::size::show_size;

const NO: &str = "No, keep it";
const YES: &str = "Yes, free all of it";

/// Frees all that the programs of this machine, or of a peer's, stored.
pub(super) async fn flush(args: FlushArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    if !args.yes {
        let what = match &args.peer {
            None => what_goes(&cloud).await?,
            Some(peer) => format!("This frees all that programs on '{peer}' stored."),
        };
        agree(&what, context).await?;
    }
    let freed = {
        let _spinner = Spinner::new(context.output, "freeing");
        let flushing = async {
            Ok(match &args.peer {
                None => cloud.flush().await?,
                Some(peer) => cloud.flush_peer(peer).await?,
            })
        };
        unless_interrupted("what was freed before stays freed", flushing).await?
    };
    context
        .output
        .confirm(&freed, || show_freed(&freed, args.peer.as_deref()))
}

/// Asks the person, or fails where there is none to ask.
async fn agree(what: &str, context: &Context) -> Outcome {
    if !context.output.can_ask() {
        return Err(Failure::Usage(format!("{what} Add --yes to do it.")));
    }
    context.output.progress_line(what);
    match ask("Free it?", vec![NO, YES], 0).await? {
        Some(YES) => Ok(()),
        _ => Err(Failure::Interrupted("nothing was freed".to_owned())),
    }
}

async fn what_goes(cloud: &MemCloud) -> Outcome<String> {
    let stats = cloud.stats().await?;
    let here = stats.used_bytes.saturating_sub(stats.peers_used_bytes);
    Ok(format!(
        "This frees all keys, blocks and streams that programs of this machine stored: {} here, {} on peers.",
        show_size(here),
        show_size(stats.remote_bytes)
    ))
}

fn show_freed(freed: &Freed, peer: Option<&str>) -> String {
    let at = peer
        .map(|peer| format!(" on '{}'", printable(peer)))
        .unwrap_or_default();
    match freed.blocks {
        0 => format!("Nothing was stored{at}"),
        1 => format!("Freed {} in one value{at}", show_size(freed.bytes)),
        values => format!("Freed {} in {values} values{at}", show_size(freed.bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_is_told() {
        let freed = |blocks, bytes| Freed { blocks, bytes };
        assert_eq!(show_freed(&freed(0, 0), None), "Nothing was stored");
        assert_eq!(show_freed(&freed(1, 5), None), "Freed 5 B in one value");
        assert_eq!(
            show_freed(&freed(3, 2048), Some("desk")),
            "Freed 2.0 KiB in 3 values on 'desk'"
        );
    }
}

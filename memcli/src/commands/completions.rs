//! `completions`.

use serde::Serialize;

use crate::cli::CompletionsArgs;
use crate::completion::script;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::{write_json, write_raw};

/// What `completions --json` prints.
#[derive(Serialize)]
struct Script {
    script: &'static str,
}

/// Prints the script for a shell.
pub(super) fn completions(args: &CompletionsArgs, context: &Context) -> Outcome {
    let script = script(args.shell);
    if context.output.is_json() {
        write_json(&Script { script })
    } else {
        write_raw(script.as_bytes())
    }
}

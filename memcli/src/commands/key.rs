//! `set`, `get`.

use memsdk::{BlockId, Opened, Stored};
use serde::Serialize;

use crate::cli::{GetArgs, SetArgs};
use crate::commands::batch::no_key;
use crate::commands::block::{file_named, hand_out, placement};
use crate::context::Context;
use crate::exit::Outcome;
use crate::interrupt::unless_interrupted;
use crate::output::printable;
use crate::progress::Transfer;
use crate::value::Input;

/// What `set --json` prints.
#[derive(Serialize)]
struct Set<'a> {
    key: &'a str,
    id: BlockId,
    size_bytes: u64,
}

/// Puts a value under a key.
pub(super) async fn set(args: SetArgs, context: &Context) -> Outcome {
    let key = memproto::key::check_key(args.key.as_bytes())?;
    let input = Input::from_argument(&args.value)?;
    let placement = placement(args.placement);
    let cloud = args.strict.of(&context.connect().await?);
    let Stored { id, size, .. } = match input {
        Input::Whole(value) => {
            cloud
                .set(key, value)
                .ttl(args.keep.ttl)
                .class(args.keep.mode.into())
                .placement(placement)
                .await?
        }
        Input::Reader(source) => {
            let transfer = Transfer::new(context.output, source.size);
            let size = source.size;
            let write = async {
                Ok(cloud
                    .set_stream(key, transfer.reader(source), size)
                    .ttl(args.keep.ttl)
                    .class(args.keep.mode.into())
                    .placement(placement)
                    .await?)
            };
            let stored = unless_interrupted("the key keeps what it had", write).await?;
            transfer.finish();
            stored
        }
    };
    let result = Set {
        key,
        id,
        size_bytes: size,
    };
    context.output.made(&result, id, || {
        format!("Set '{}' (Block ID: {id})", printable(key))
    })
}

/// Prints the value of a key.
pub(super) async fn get(args: GetArgs, context: &Context) -> Outcome {
    let cloud = args.strict.of(&context.connect().await?);
    let opened = match file_named(args.output.as_deref()) {
        Some(_) => cloud.open_key_mapped(&args.key).await?,
        None => cloud.open_key(&args.key).await?.map(Opened::Object),
    };
    let opened = opened.ok_or_else(|| no_key(&args.key))?;
    hand_out(opened, Some(&args.key), args.output.as_deref(), context).await
}

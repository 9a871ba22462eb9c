//! `stream`.

use memsdk::Stored;

use crate::cli::StreamArgs;
use crate::commands::block::{Made, NOTHING_STORED, placement};
use crate::context::Context;
use crate::exit::Outcome;
use crate::interrupt::unless_interrupted;
use crate::progress::Transfer;
use crate::size::show_size;
use crate::value::Source;

/// Stores a file or stdin as a stream.
pub(super) async fn stream(args: StreamArgs, context: &Context) -> Outcome {
    let source = Source::open(&args.file)?;
    let placement = placement(args.placement);
    let cloud = context.connect().await?;
    let transfer = Transfer::new(context.output, source.size);
    let size = source.size;
    let write = async {
        let put = cloud
            .stream(transfer.reader(source))
            .placement(placement)
            .ttl(args.keep.ttl)
            .class(args.keep.mode.into());
        Ok(match size {
            Some(size) => put.size(size).await?,
            None => put.await?,
        })
    };
    let Stored { id, size, .. } = unless_interrupted(NOTHING_STORED, write).await?;
    context.output.progress_line(&transfer.finish());
    context.output.made(&Made { id, size_bytes: size }, id, || {
        format!("Stored stream ID: {id} ({})", show_size(size))
    })
}

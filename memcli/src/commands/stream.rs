//! `stream`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use memproto::ErrorCode;
use memproto::stream::{StreamFinished, StreamStatus};
use memsdk::{BlockId, MemCloud, StreamWriter};
use serde::Serialize;

use crate::cli::StreamArgs;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::interrupt::Signals;
use crate::output::{Output, printable};
use crate::progress::{LOOK, Transfer};
use crate::size::{show_rate, show_size};
use crate::value::Source;

/// What `stream --json` prints.
#[derive(Serialize)]
struct Made<'a> {
    id: BlockId,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    size_bytes: u64,
    stored_bytes: u64,
    known_bytes: u64,
    holders: BTreeMap<String, u64>,
}

/// Stores a file or stdin as a stream.
pub(super) async fn stream(args: StreamArgs, context: &Context) -> Outcome {
    let source = Source::open(&args.file)?;
    let (output, size) = (context.output, source.size);
    let cloud = context.connect().await?;
    let mut builder = args
        .holders
        .apply(cloud.stream_writer())
        .ttl(args.keep.ttl)
        .class(args.keep.mode.into())
        .live(args.live);
    if let Some(key) = &args.name {
        builder = builder.key(key);
    }
    let mut writer = builder.await?;
    let id = writer.id();
    if size.is_none() {
        output.progress_line(&format!(
            "Stream ID: {id}, readable while it grows: memcli load {id} --follow"
        ));
    }
    let began = Instant::now();
    let transfer = Transfer::new(output, size);
    let mut signals = Signals::watch()?;
    let written = tokio::select! {
        written = write(&mut writer, source) => written,
        never = watch(&cloud, id, &transfer, output) => never,
        how = signals.next() => Err(Failure::Interrupted(how.to_owned())),
    };
    let status = cloud.stream_status(id).await;
    let finished = match written {
        Ok(()) => writer.finish().await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    transfer.finish();
    match finished {
        Ok(finished) => {
            let status = status.ok();
            told(&finished, status.as_ref(), &args, began.elapsed(), output)
        }
        Err(failure) => Err(with_what_is_kept(failure, status.ok().as_ref(), id)),
    }
}

async fn write(writer: &mut StreamWriter, source: Source) -> Outcome {
    match source.size {
        // From where it stands: stdin may have been read from before.
        Some(size) => {
            let end = source
                .file
                .metadata()
                .map_err(|error| Failure::reading("the file", &error))?
                .size();
            writer
                .write_file(source.file, end.saturating_sub(size)..end)
                .await?;
        }
        None => {
            writer.write_from(tokio::fs::File::from_std(source.file)).await?;
        }
    }
    Ok(())
}

/// Moves the bar for as long as it is waited for.
pub(super) async fn watch(cloud: &MemCloud, id: BlockId, transfer: &Transfer, output: Output) -> Outcome {
    if !output.is_interactive() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK).await;
        // Where the node cannot say it, whoever writes is told why.
        if let Ok(status) = cloud.stream_status(id).await {
            transfer.set(status.placed_bytes, &shares(&status));
        }
    }
}

/// How the bytes are spread: `b 60 %, c 40 %`.
fn shares(status: &StreamStatus) -> String {
    let all: u64 = status.holders.iter().map(|holder| holder.bytes).sum();
    let shares = status.holders.iter().map(|holder| {
        let percent = (holder.bytes * 100).checked_div(all).unwrap_or(0);
        let lost = if holder.connected { "" } else { " (lost)" };
        format!("{} {percent} %{lost}", printable(&holder.name))
    });
    shares.collect::<Vec<_>>().join(", ")
}

fn told(
    finished: &StreamFinished,
    status: Option<&StreamStatus>,
    args: &StreamArgs,
    took: Duration,
    output: Output,
) -> Outcome {
    let &StreamFinished {
        id,
        size_bytes,
        stored_bytes,
        known_bytes,
    } = finished;
    let holders = status.map(|status| status.holders.as_slice()).unwrap_or_default();
    let mut parts = vec![format!(
        "{} in {:.1} s ({})",
        show_size(size_bytes),
        took.as_secs_f64(),
        show_rate(size_bytes, took)
    )];
    if !holders.is_empty() {
        let lie = holders
            .iter()
            .map(|holder| format!("'{}' {}", printable(&holder.name), show_size(holder.bytes)));
        parts.push(format!("on {}", lie.collect::<Vec<_>>().join(", ")));
    }
    if known_bytes > 0 {
        parts.push(format!("{} were there already", show_size(known_bytes)));
    }
    let sent = size_bytes - known_bytes;
    if stored_bytes < sent {
        parts.push(format!(
            "{} compressed to {}",
            show_size(sent),
            show_size(stored_bytes)
        ));
    }
    output.progress_line(&parts.join("; "));
    let made = Made {
        id,
        key: args.name.as_deref(),
        size_bytes,
        stored_bytes,
        known_bytes,
        holders: holders
            .iter()
            .map(|holder| (holder.name.clone(), holder.bytes))
            .collect(),
    };
    output.made(&made, id, || {
        let named = args
            .name
            .as_ref()
            .map(|key| format!(" as '{}'", printable(key)))
            .unwrap_or_default();
        format!("Stored stream ID: {id}{named} ({})", show_size(size_bytes))
    })
}

/// The failure, and what of the stream is there to go on with.
fn with_what_is_kept(failure: Failure, status: Option<&StreamStatus>, id: BlockId) -> Failure {
    let kept = match status {
        Some(status) if status.placed_bytes > 0 => format!(
            "{} are stored and kept for a while (unfinished_streams_kept, ten minutes unless set): run it again, and only the rest is sent; or \
             free them: memcli free {id}",
            show_size(status.placed_bytes)
        ),
        _ => "nothing is stored".to_owned(),
    };
    match failure {
        Failure::Interrupted(how) => Failure::Interrupted(format!("{how}: {kept}")),
        Failure::Api(error) if !matches!(error.code, ErrorCode::OutOfMemory | ErrorCode::QuotaExceeded) => {
            Failure::api(
                error.code,
                format!("{}. {kept}", error.message.trim_end_matches('.')),
            )
        }
        failure => failure,
    }
}

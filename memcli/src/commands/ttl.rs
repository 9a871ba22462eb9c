//! `ttl`, `expire`, `persist`.

use std::time::Duration;

use memproto::ErrorCode;
use memsdk::{BlockId, Lifetime, ValueName};
use serde::Serialize;

use crate::cli::{ExpireArgs, TtlArgs};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::printable;

/// What the three commands print with `--json`.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<BlockId>,
    /// How long it lives now; null for good.
    ttl_ms: Option<u64>,
}

/// Tells how long a value lives.
pub(super) async fn ttl(args: TtlArgs, context: &Context) -> Outcome {
    let name = name(&args)?;
    let left = match context.connect().await?.ttl(name.clone()).await? {
        Some(Lifetime::Left(left)) => Some(left),
        Some(Lifetime::Endless) => None,
        None => return Err(absent(&name)),
    };
    context.output.show(&shown(&name, left), || match left {
        Some(left) => show_time(left),
        None => "for good".to_owned(),
    })
}

/// Lets a value expire.
pub(super) async fn expire(args: ExpireArgs, context: &Context) -> Outcome {
    let name = name(&args.value)?;
    let cloud = context.connect().await?;
    let before = cloud.expire(name.clone(), args.ttl).await?;
    before.ok_or_else(|| absent(&name))?;
    context.output.confirm(&shown(&name, Some(args.ttl)), || {
        format!("{} expires in {}", spoken(&name), show_time(args.ttl))
    })
}

/// Lets a value live for good.
pub(super) async fn persist(args: TtlArgs, context: &Context) -> Outcome {
    let name = name(&args)?;
    let before = context.connect().await?.persist(name.clone()).await?;
    before.ok_or_else(|| absent(&name))?;
    context.output.confirm(&shown(&name, None), || {
        format!("{} stays for good", spoken(&name))
    })
}

fn name(args: &TtlArgs) -> Outcome<ValueName> {
    if !args.id {
        return Ok(ValueName::Key(args.name.clone()));
    }
    match args.name.parse() {
        Ok(id) => Ok(ValueName::Id(id)),
        Err(_) => Err(Failure::Usage(format!("'{}' is not an id", args.name))),
    }
}

fn shown(name: &ValueName, left: Option<Duration>) -> Shown<'_> {
    let (key, id) = match name {
        ValueName::Id(id) => (None, Some(*id)),
        ValueName::Key(key) => (Some(key.as_str()), None),
    };
    Shown {
        key,
        id,
        ttl_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn spoken(name: &ValueName) -> String {
    match name {
        ValueName::Id(id) => format!("Block {id}"),
        ValueName::Key(key) => format!("'{}'", printable(key)),
    }
}

/// A time in whole seconds where it has some, such as `9m 58s`.
pub(super) fn show_time(time: Duration) -> String {
    let time = match time.as_secs() {
        0 => time,
        secs => Duration::from_secs(secs),
    };
    humantime::format_duration(time).to_string()
}

fn absent(name: &ValueName) -> Failure {
    let message = match name {
        ValueName::Id(id) => format!("no block {id} on this node or a connected peer"),
        ValueName::Key(key) => format!("no key '{key}' on this node or a connected peer"),
    };
    Failure::api(ErrorCode::NotFound, message)
}

//! `keys`.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use memsdk::{BlockClass, KeyDetails, ListedKey, MemCloud, MissingNode, NodeId};
use serde::Serialize;

use crate::cli::KeysArgs;
use crate::commands::ttl::show_time;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::{printable, write_json, write_raw};
use crate::size::show_size;
use crate::table::{table, width};

/// What `keys --json` prints.
#[derive(Serialize)]
struct Listing<'a, K> {
    keys: Vec<K>,
    /// Nodes whose keys are missing.
    missing: &'a [MissingNode],
}

/// A key in it with `--long`.
#[derive(Serialize)]
struct Long<'a> {
    key: &'a str,
    size_bytes: u64,
    /// Null where the value lies on another node than the one that answers for the key.
    class: Option<BlockClass>,
    /// How long it lives; null for good.
    ttl_ms: Option<u64>,
    /// The node that answers for the key.
    node: NodeId,
    /// The node on which the bytes lie.
    holder: NodeId,
    /// Whether it lies in chunks.
    stream: bool,
}

/// What was listed, in ascending order: each key once.
type Listed = BTreeMap<String, Option<KeyDetails>>;

/// Lists keys, one a line, or with `--long` as a table.
pub(super) async fn keys(args: KeysArgs, context: &Context) -> Outcome {
    if let Some(hint) = expanded_by_the_shell(&args.patterns) {
        context.output.note(&hint);
    }
    let cloud = context.connect().await?;
    let (listed, missing) = list(&cloud, &args).await?;
    for node in &missing {
        context.output.note(&format!(
            "the keys of '{}' are not listed: it is not connected, or does not answer",
            node.name
        ));
    }
    match (context.output.is_json(), args.long) {
        (true, false) => write_json(&Listing {
            keys: listed.keys().collect(),
            missing: &missing,
        }),
        (true, true) => write_json(&Listing {
            keys: listed.iter().filter_map(long).collect(),
            missing: &missing,
        }),
        (false, true) => show_long(&listed, &names(&cloud).await?),
        (false, false) => show(&listed),
    }
}

/// All that matches, or as much as was asked for, and the nodes whose keys are missing.
async fn list(cloud: &MemCloud, args: &KeysArgs) -> Outcome<(Listed, Vec<MissingNode>)> {
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut scan = cloud.scan(&args.patterns);
    if args.local {
        scan = scan.local();
    }
    let mut listed = Listed::new();
    let missing = if args.long {
        let mut scan = scan.details();
        while listed.len() < limit
            && let Some(page) = scan.next_page().await?
        {
            listed.extend(page.into_iter().map(|ListedKey { key, details }| (key, details)));
        }
        scan.missing().to_vec()
    } else {
        while listed.len() < limit
            && let Some(page) = scan.next_page().await?
        {
            listed.extend(page.into_iter().map(|key| (key, None)));
        }
        scan.missing().to_vec()
    };
    while listed.len() > limit {
        listed.pop_last();
    }
    Ok((listed, missing))
}

fn show(listed: &Listed) -> Outcome {
    // A key may hold line ends and worse: people get them escaped, programs as they are.
    let is_terminal = std::io::stdout().is_terminal();
    let mut lines = String::new();
    for key in listed.keys() {
        lines += &if is_terminal { printable(key) } else { key.into() };
        lines.push('\n');
    }
    write_raw(lines.as_bytes())
}

fn show_long(listed: &Listed, names: &HashMap<NodeId, String>) -> Outcome {
    if listed.is_empty() {
        return Ok(());
    }
    let rows = listed
        .iter()
        .filter_map(|(key, details)| Some(row(key, &(*details)?, names)));
    let text = table(
        ["KEY", "SIZE", "CLASS", "EXPIRES", "WHERE"],
        rows.collect(),
        width(),
    );
    write_raw(format!("{text}\n").as_bytes())
}

fn row(key: &str, details: &KeyDetails, names: &HashMap<NodeId, String>) -> [String; 5] {
    let name = names
        .get(&details.holder)
        .map_or_else(|| details.holder.short(), |name| printable(name).into_owned());
    [
        printable(key).into_owned(),
        show_size(details.size),
        match details.class {
            Some(BlockClass::Pinned) => "pinned",
            Some(BlockClass::Cache) => "cache",
            None => "-",
        }
        .to_owned(),
        details
            .ttl
            .map_or("never".to_owned(), |ttl| show_time(Duration::from(ttl))),
        if details.is_stream {
            format!("{name}, in chunks")
        } else {
            name
        },
    ]
}

fn long<'a>((key, details): (&'a String, &Option<KeyDetails>)) -> Option<Long<'a>> {
    let details = (*details)?;
    Some(Long {
        key,
        size_bytes: details.size,
        class: details.class,
        ttl_ms: details.ttl.map(|ttl| ttl.as_millis()),
        node: details.node,
        holder: details.holder,
        stream: details.is_stream,
    })
}

/// The names of this node and of those that it knows.
async fn names(cloud: &MemCloud) -> Outcome<HashMap<NodeId, String>> {
    let own = cloud.status().await?;
    let peers = cloud.peers().await?.into_iter();
    let mut names: HashMap<NodeId, String> = peers.filter_map(|peer| Some((peer.id?, peer.name))).collect();
    names.insert(own.node_id, own.name);
    Ok(names)
}

/// What is to be said where all patterns are names of files here: the shell makes them of a `*` without quotes.
fn expanded_by_the_shell(patterns: &[String]) -> Option<String> {
    let are_files = patterns.iter().all(|pattern| Path::new(pattern).exists());
    let what = match patterns {
        _ if !are_files => return None,
        [file] => format!("'{file}' is the name of a file here"),
        files => format!("all {} patterns are names of files here", files.len()),
    };
    Some(format!(
        "{what}: if the shell made that of a pattern, put the pattern in quotes, as in: memcli keys '*'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_fits_80_columns_and_names_where_the_bytes_lie() {
        let [here, there] = [1, 2].map(|byte| NodeId::from_bytes([byte; 16]));
        let names = HashMap::from([(here, "macbook".to_owned()), (there, "linux-box".to_owned())]);
        let details = KeyDetails {
            node: here,
            holder: here,
            size: 3 << 30,
            class: Some(BlockClass::Pinned),
            ttl: None,
            is_stream: false,
        };
        let placed = KeyDetails {
            holder: there,
            class: None,
            ttl: memproto::Ttl::from_millis(3_600_000).ok(),
            ..details
        };
        let stranger = KeyDetails {
            holder: NodeId::from_bytes([3; 16]),
            is_stream: true,
            ..details
        };
        let rows = [("a", details), ("b", placed), (&"k".repeat(200), stranger)];
        let rows = rows.map(|(key, details)| row(key, &details, &names)).to_vec();
        let text = table(["KEY", "SIZE", "CLASS", "EXPIRES", "WHERE"], rows, 80);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let line = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("a "), "a 3.0 GiB pinned never macbook");
        assert_eq!(line("b "), "b 3.0 GiB - 1h linux-box");
        assert!(text.contains("in chunks"), "{text}");
    }
}

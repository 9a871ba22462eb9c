//! Who is measured when: rows one after the other, and within a row what stands side by side in turn.

use std::fmt::Display;

use anyhow::Result;
use xtask::interrupt;

use crate::line::Column;

/// Measures the rows that are asked for, all where none is named. Returns the lines of the table.
pub(crate) fn measure_rows<R: PartialEq + Display, L>(
    all: impl IntoIterator<Item = R>,
    only: &[R],
    mut measure: impl FnMut(R) -> Result<Vec<L>>,
) -> Result<Vec<L>> {
    let mut lines = Vec::new();
    for row in all {
        if only.is_empty() || only.contains(&row) {
            interrupt::check()?;
            eprintln!("{row}");
            lines.extend(measure(row)?);
        }
    }
    Ok(lines)
}

/// Lets these take turns, forwards and backwards. Returns the runs of each, in the order of `all`.
pub(crate) fn take_turns<K: Copy, T>(
    count: u32,
    all: &[K],
    mut measure: impl FnMut(K) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    let mut runs: Vec<_> = all.iter().map(|_| Vec::new()).collect();
    for _ in 0..count {
        for &index in &order {
            interrupt::check()?;
            runs[index].push(measure(all[index])?);
        }
        order.reverse();
    }
    Ok(runs)
}

/// The same for some columns of a table. Returns the runs of all of them, in the order of [`Column::ALL`]; none of those that have no turn.
pub(crate) fn alternate<K: Column, T>(
    count: u32,
    kinds: &[K],
    measure: impl FnMut(K) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut measured: Vec<_> = kinds.iter().zip(take_turns(count, kinds, measure)?).collect();
    let of_column = |column: &K| {
        let at = measured.iter().position(|(kind, _)| *kind == column);
        at.map_or_else(Vec::new, |at| measured.swap_remove(at).1)
    };
    Ok(K::ALL.iter().map(of_column).collect())
}

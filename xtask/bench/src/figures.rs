//! Medians and quantiles.

/// The middle one; of an even number the mean of the two in the middle. `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0)
}

/// The smallest of these sorted values that is not less than so many thousandths of them (the nearest rank): a value that
/// was measured, never one in between. `None` of nothing.
pub(crate) fn quantile(sorted: &[u64], per_mille: u64) -> Option<u64> {
    let rank = (sorted.len() as u64 * per_mille).div_ceil(1000).max(1);
    sorted.get(rank as usize - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=1000).collect();
        assert_eq!(quantile(&values, 500), Some(500));
        assert_eq!(quantile(&values, 990), Some(990));
        assert_eq!(quantile(&values, 999), Some(999));
        assert_eq!(quantile(&values, 1000), Some(1000));
        assert_eq!(quantile(&values, 0), Some(1));
        // Of 100 values the highest alone is not below 99.9 %.
        assert_eq!(quantile(&values[..100], 999), Some(100));
        assert_eq!(quantile(&values[..1], 500), Some(1));
        assert_eq!(quantile(&[], 500), None);
    }

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        assert_eq!(median(&[3.0, 1.0, 100.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }
}

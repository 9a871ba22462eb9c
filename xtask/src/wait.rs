//! Waiting for a condition with a deadline, which is how the tests do without sleeps for luck.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

/// How long to pause between two looks at a condition. A look may start a process, so it is not free.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Looks again and again until `probe` finds something, and returns that.
///
/// # Errors
/// When `within` has passed: the message names `what` was waited for and, where the last look failed, how. Also when
/// the chore is interrupted.
pub fn until<T, E: Display>(
    what: &str,
    within: Duration,
    probe: impl FnMut() -> Result<Option<T>, E>,
) -> Result<T> {
    until_polled(what, within, POLL_INTERVAL, probe)
}

/// [`until`] with so long a pause between two looks.
///
/// # Errors
/// As [`until`].
pub fn until_polled<T, E: Display>(
    what: &str,
    within: Duration,
    pause: Duration,
    mut probe: impl FnMut() -> Result<Option<T>, E>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let failure = match probe() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(format!("{error:#}")),
        };
        interrupt::check()?;
        if start.elapsed() >= within {
            let secs = within.as_secs_f64();
            match failure {
                Some(failure) => bail!("waited {secs} s for {what}; at last: {failure}"),
                None => bail!("waited {secs} s for {what}"),
            }
        }
        std::thread::sleep(pause);
    }
}

/// [`until`] for a condition that is only true or false.
///
/// # Errors
/// As [`until`].
pub fn until_true(what: &str, within: Duration, mut probe: impl FnMut() -> bool) -> Result<()> {
    until(what, within, || {
        Ok::<_, std::convert::Infallible>(probe().then_some(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_returned_and_what_is_not_is_named() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            Ok::<_, String>((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);

        let error = until("rain", Duration::ZERO, || Err::<Option<()>, _>("the sky is blue")).unwrap_err();
        assert_eq!(error.to_string(), "waited 0 s for rain; at last: the sky is blue");
    }
}

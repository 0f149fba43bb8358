//! Trying again while a server has trouble, with longer and longer waits.

use std::time::{Duration, Instant};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Tries until it works, the error is not one that passes, or patience ends.
pub(crate) async fn with_back_off<T, E>(
    patience: Duration,
    passing: impl Fn(&E) -> bool,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let (deadline, mut wait) = (Instant::now() + patience, FIRST_WAIT);
    loop {
        match attempt().await {
            Err(error) if passing(&error) && Instant::now() + wait < deadline => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            ended => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Trouble {
        Passing,
        Definite,
    }

    fn run<T>(patience: Duration, attempt: impl AsyncFnMut() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(with_back_off(patience, |error| *error == Trouble::Passing, attempt))
    }

    #[test]
    fn trouble_that_passes_is_waited_for() {
        let mut left = 3;
        let ended = run(Duration::from_secs(60), async || {
            left -= 1;
            if left > 0 { Err(Trouble::Passing) } else { Ok(7) }
        });
        assert_eq!(ended, Ok(7));
    }

    #[test]
    fn trouble_that_stays_ends_with_patience_and_answers_end_at_once() {
        let mut attempts = 0;
        let ended = run(Duration::from_millis(350), async || {
            attempts += 1;
            Err::<(), _>(Trouble::Passing)
        });
        assert!(ended.is_err() && (1..=3).contains(&attempts), "{attempts}");
        let mut attempts = 0;
        let ended = run(Duration::from_secs(60), async || {
            attempts += 1;
            Err::<(), _>(Trouble::Definite)
        });
        assert_eq!((ended, attempts), (Err(Trouble::Definite), 1));
    }
}

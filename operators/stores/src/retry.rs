//! Trying again while a server has trouble, with longer and longer waits.

use std::error::Error;
use std::io::ErrorKind;
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

/// Trouble that may pass: a server error, a broken connection, a full disk. All other errors are answers.
pub(crate) fn passing(error: &object_store::Error) -> bool {
    match error {
        object_store::Error::Generic { source, .. } => !definite(&**source),
        object_store::Error::JoinError { .. } => true,
        _ => false,
    }
}

/// An answer that the client has no name for.
fn definite(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |cause| (*cause).source()).any(refused)
}

/// Machines of a cloud are asked for credentials at this address, where none are configured.
const CLOUD: &str = "://169.254.169.254/";

/// True where nobody answers there, or has none to give: this is no such machine.
fn no_credentials(text: &str) -> bool {
    text.contains(CLOUD) && (text.contains("HTTP error") || text.contains("non-2xx status code: 4"))
}

/// What a store said; of credentials that are missing, what to do.
pub(crate) fn said(error: &object_store::Error) -> String {
    let text = error.to_string();
    match no_credentials(&text) {
        true => {
            "there are no credentials: set store.s3_access_key_id and store.s3_secret_access_key, or the variables \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a server of your own also store.s3_endpoint"
                .to_owned()
        }
        false => text,
    }
}

/// A file system says it by its kind of error. A server's status is in the text alone; 408 and 429 ask for another try.
fn refused(cause: &(dyn Error + 'static)) -> bool {
    use ErrorKind::{InvalidFilename, InvalidInput, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        let kind = error.kind();
        return matches!(kind, PermissionDenied | ReadOnlyFilesystem | NotADirectory | IsADirectory)
            || matches!(kind, InvalidInput | InvalidFilename);
    }
    let text = cause.to_string();
    let status = text.split_once("non-2xx status code: ").map(|(_, status)| status);
    status.is_some_and(|status| status.starts_with('4') && !status.starts_with("408") && !status.starts_with("429"))
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
    fn credentials_that_are_missing_are_told() {
        let error = |text: &str| object_store::Error::Generic { store: "S3", source: text.into() };
        let missing = error(
            "Error performing PUT http://169.254.169.254/latest/api/token in 3s, after 3 retries, max_retries: 3, \
             retry_timeout: 10s  - HTTP error: error sending request",
        );
        let denied = error(
            "Error performing PUT http://169.254.169.254/latest/api/token in 2ms - Server returned non-2xx status code: \
             403 Forbidden: denied",
        );
        // The machines of a cloud may be slow to say theirs.
        assert!(passing(&missing) && !passing(&denied));
        for missing in [missing, denied] {
            assert!(said(&missing).contains("AWS_ACCESS_KEY_ID"), "{}", said(&missing));
        }
        let away = error("Error performing GET http://s3/b/k in 3s - HTTP error: error sending request");
        assert!(passing(&away) && said(&away).contains("http://s3/b/k"), "{}", said(&away));
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

    #[test]
    fn what_may_pass_is_told_from_an_answer() {
        let generic = |source: Box<dyn Error + Send + Sync>| object_store::Error::Generic { store: "test", source };
        let server = |status: &str| generic(format!("Server returned non-2xx status code: {status}: ").into());
        let file = |kind: ErrorKind| generic(Box::new(std::io::Error::from(kind)));
        for passes in [server("503 Slow Down"), server("429 Too Many"), file(ErrorKind::ConnectionReset)] {
            assert!(passing(&passes), "{passes}");
        }
        let missing = object_store::Error::NotFound { path: "x".into(), source: "no".into() };
        for answer in [server("400 Bad Request"), file(ErrorKind::PermissionDenied), missing] {
            assert!(!passing(&answer), "{answer}");
        }
    }
}

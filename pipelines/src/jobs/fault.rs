//! Why a step of a job does not succeed, by what is to be done about it.

use lunapark_stores::StoreError;
use lunapark_stores::catalog::CatalogError;
use lunapark_topics::{LogError, LogErrorKind};
use lunapark_train::Refusal;

/// What stands in a job's way.
#[derive(Debug)]
pub(super) enum Fault {
    /// The request, its data or the store's answer: the task fails.
    Refused(Refusal),
    /// A store that does not answer now: the step is tried again.
    Away(String),
    /// The log: the stream thread is opened again.
    Log(LogError),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Fault::Refused(refusal)
    }
}

impl From<LogError> for Fault {
    /// What the request's topic is to blame for fails the task; only what may pass is tried again.
    fn from(error: LogError) -> Self {
        match error.kind {
            LogErrorKind::Invalid | LogErrorKind::TopicMissing | LogErrorKind::Unauthorised => {
                Fault::Refused(Refusal::data(format!("the data set cannot be read: {error}")))
            }
            _ => Fault::Log(error),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error.passes() {
            true => Fault::Away(error.to_string()),
            false => Fault::Refused(Refusal::training(error.to_string())),
        }
    }
}

impl From<CatalogError> for Fault {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Unavailable(_) => Fault::Away(error.to_string()),
            answer => Fault::Refused(Refusal::training(answer.to_string())),
        }
    }
}

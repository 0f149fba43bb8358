//! Training by event: the request and what is answered to it.
//!
//! The fields are those of INFN's ML-AAS requests, extended for tables.

mod request;
mod search;
mod status;
#[cfg(test)]
mod tests;

pub use request::{
    Architecture, ClassWeight, Dataset, EarlyStopping, ModelSave, ModelSpec, ModelTrain, Names, Optimizer,
    RequestError, TrainingRequest,
};
pub use search::{
    Parameters, Search, SearchOrigin, SearchRange, SearchReport, TopicRange, TrialEnd, TrialPlace, TrialRecord,
    TrialReference, TrialReport, TrialState,
};
pub use status::{
    ClassCount, DatasetReport, Epoch, FeatureStatistics, ModelReference, TaskStatus, TrainingProgress, TrainingStats,
    TrainingStatus,
};

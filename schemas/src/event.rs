//! Events of our own topics: their keys and their JSON.

use serde::Serialize;

use crate::catalog::{CatalogRecord, ModelVersion, Reservation};
use crate::control::ControlRecord;
use crate::ledger::LedgerRecord;
use crate::metrics::MetricsRecord;

/// A payload that a typed topic carries as JSON.
pub trait Event: Serialize {
    /// The record's key; records of one key keep their order.
    fn key(&self) -> String;
}

impl Event for LedgerRecord {
    fn key(&self) -> String {
        match self {
            LedgerRecord::Range(range) => format!("{}/{}/{}", range.pipeline, range.topic, range.partition),
            LedgerRecord::Redrive(redrive) => format!("{}/{}/{}", redrive.topic, redrive.partition, redrive.offset),
        }
    }
}

impl Event for MetricsRecord {
    fn key(&self) -> String {
        format!("{}/{}", self.pipeline, self.instance)
    }
}

impl Event for CatalogRecord {
    fn key(&self) -> String {
        match self {
            CatalogRecord::Version(version) => ModelVersion::key_of(&version.name, version.version),
            CatalogRecord::Promotion(promotion) => promotion.key(),
            CatalogRecord::Reservation(reservation) => Reservation::key_of(&reservation.name, &reservation.task_id),
        }
    }
}

impl Event for ControlRecord {
    fn key(&self) -> String {
        match self {
            ControlRecord::Cancel { task_id } => task_id.clone(),
            ControlRecord::Seat(seat) => format!("{}/{}", seat.project, seat.job),
            ControlRecord::Alive(alive) => format!("{}/{}", alive.pipeline, alive.instance),
            ControlRecord::Stopped { pipeline, instance, .. } => format!("{pipeline}/{instance}"),
            ControlRecord::Ready(answer) | ControlRecord::CannotSwitch(answer) => {
                format!("{}/{}", answer.pipeline, answer.instance)
            }
        }
    }
}

//! Entries of the catalog as documents of a database, and back.

use std::collections::BTreeMap;

use lunapark_schemas::catalog::{CatalogRecord, ModelVersion, Reservation};
use mongodb::bson::{self, Bson, Document, doc};

use super::search_text;

/// Where in the topic the entry is from; what never was there has [`NO_OFFSET`].
pub(super) const OFFSET: &str = "offset";
/// Older than any record of the topic.
pub(super) const NO_OFFSET: i64 = -1;
/// What a search looks through, in lower case.
pub(super) const TEXT: &str = "search_text";

/// The collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Version,
    Reservation,
}

/// The document of a record, and where it belongs; none for promotions, which only the topic holds. Its `_id` is the
/// record's key without the kind.
pub(super) fn of_record(record: &CatalogRecord, offset: i64) -> bson::error::Result<Option<(Kind, Document)>> {
    Ok(match record {
        CatalogRecord::Version(version) => Some((Kind::Version, of_version(version, offset)?)),
        CatalogRecord::Reservation(reservation) => Some((Kind::Reservation, of_reservation(reservation, offset))),
        CatalogRecord::Promotion(_) => None,
    })
}

/// Names of metrics may hold dots, which names of fields may not: so they are a list.
pub(super) fn of_version(version: &ModelVersion, offset: i64) -> bson::error::Result<Document> {
    let metric = |(name, value): (&String, &f64)| Bson::Document(doc! { "name": name, "value": value });
    let metrics: Vec<Bson> = version.metrics.iter().map(metric).collect();
    let mut document = doc! { "_id": version.reference() };
    document.extend(bson::serialize_to_document(version)?);
    document.extend(doc! { "metrics": metrics, TEXT: search_text(version), OFFSET: offset });
    Ok(document)
}

pub(super) fn of_reservation(reservation: &Reservation, offset: i64) -> Document {
    let Reservation { name, version, task_id } = reservation;
    let id = format!("{name}/{task_id}");
    doc! { "_id": id, "name": name, "version": i64::from(*version), "task_id": task_id, OFFSET: offset }
}

pub(super) fn version(mut document: Document) -> bson::error::Result<ModelVersion> {
    let list = document.remove("metrics");
    let metric = |entry: &Bson| {
        let entry = entry.as_document()?;
        Some((entry.get_str("name").ok()?.to_owned(), entry.get_f64("value").ok()?))
    };
    let metrics: BTreeMap<String, f64> =
        list.as_ref().and_then(Bson::as_array).into_iter().flatten().filter_map(metric).collect();
    let version: ModelVersion = bson::deserialize_from_document(document)?;
    Ok(ModelVersion { metrics, ..version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_from_its_document() {
        let text = include_str!("../../../../schemas/examples/records/models/ok-version.json");
        let CatalogRecord::Version(mut entry) = serde_json::from_str(text).unwrap() else { panic!("a version") };
        entry.metrics.insert("auc.test $1".into(), 0.25);
        let document = of_version(&entry, 7).unwrap();
        assert_eq!((document.get_str("_id").unwrap(), document.get_i64(OFFSET).unwrap()), ("higgs/3", 7));
        assert_eq!(version(document).unwrap(), *entry);
    }
}

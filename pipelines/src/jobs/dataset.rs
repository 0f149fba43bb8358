//! Data sets: from the request's path to tables, of files, objects and topics that the configuration allows.

use std::fs::File;
use std::io::{self, Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use lunapark_schemas::training::{Dataset, TopicRange, TrainingRequest};
use lunapark_stores::Address;
use lunapark_stores::artifacts::digest_of;
use lunapark_tables::{Kind, ReadOptions, Table, TableError};
use lunapark_topics::Log;
use lunapark_train::{Refusal, Tables};
use sha2::{Digest, Sha256};

use super::JobSettings;
use super::fault::Fault;
use super::slices::{self, Slices};

/// Bytes that are hashed between two looks at whether they still count.
const HASHED_BYTES: usize = 1 << 18;

/// Folders and `s3://` prefixes in which data sets may lie, or copies of models.
#[derive(Clone, Debug, Default)]
pub struct Allowed(Vec<String>);

impl Allowed {
    /// Reads a list with commas.
    pub fn parse(text: &str) -> Self {
        Self(text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
    }

    /// The file that a path leads to, links followed, where it lies in an allowed folder.
    pub(crate) fn file(&self, path: &Path) -> Option<PathBuf> {
        let found = path.canonicalize().ok()?;
        let inside = |entry: &&String| Path::new(entry).canonicalize().is_ok_and(|folder| found.starts_with(folder));
        self.0.iter().filter(|entry| !entry.starts_with("s3://")).any(|entry| inside(&entry)).then_some(found)
    }

    /// Whether an address in an object store lies under an allowed prefix.
    pub(crate) fn object(&self, address: &str) -> bool {
        let under = |entry: &String| {
            let rest = address.strip_prefix(entry.as_str());
            entry.starts_with("s3://") && rest.is_some_and(|rest| entry.ends_with('/') || rest.starts_with('/'))
        };
        !address.split('/').any(|part| part == "..") && self.0.iter().any(under)
    }

    /// Whether a folder that need not exist yet lies in an allowed one.
    pub(super) fn folder(&self, path: &Path) -> bool {
        let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        let existing = path.ancestors().find(|parent| parent.exists() || parent.as_os_str().is_empty());
        let existing = existing.map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        plain && existing.is_some_and(|parent| self.file(parent).is_some())
    }
}

/// Where a data set of a topic begins and ends: decided once per task, so that a later try reads the same.
pub(super) fn range_of(dataset: &Dataset, log: &dyn Log) -> Result<Option<TopicRange>, Fault> {
    match dataset.path.strip_prefix("topic://") {
        Some(rest) => slices::resolve(rest, log).map(Some),
        None => Ok(None),
    }
}

/// A data set in memory.
pub(super) struct Loaded {
    pub(super) tables: Tables,
    /// SHA-256 of the file or object; of a range of a topic, of its lines.
    pub(super) digest: String,
}

/// Rows, how many there are beside them that nobody gave a label, and the digest of them all.
type Rows = (Vec<RecordBatch>, u64, String);

/// Reads the data set of a request.
pub(super) fn load(
    request: &TrainingRequest,
    settings: &JobSettings,
    range: Option<&TopicRange>,
    log: &dyn Log,
) -> Result<Loaded, Fault> {
    let (batches, unlabelled, digest) = match range {
        Some(range) => of_topic(range, &request.dataset, log, settings)?,
        None => of_path(&request.dataset, settings)?,
    };
    Ok(Loaded { tables: Tables::from_batches(&batches, request)?.without_unlabelled(unlabelled), digest })
}

/// The rows of a file or object.
fn of_path(dataset: &Dataset, settings: &JobSettings) -> Result<Rows, Fault> {
    let kind = dataset.format.as_deref().map(str::parse::<Kind>).transpose();
    let kind = kind.map_err(|what| Refusal::request(format!("`dataset.format`: {what}")))?;
    let options = ReadOptions { kind, ..Default::default() };
    let address = Address::parse(&dataset.path, Path::new("")).map_err(|e| Refusal::request(e.to_string()))?;
    match &address {
        Address::File(path) => {
            let file = settings.allowed.file(path).ok_or_else(|| not_allowed(&dataset.path))?;
            let read = || of_table(Table::open(&file, options).map_err(unreadable)?, dataset, settings);
            let (batches, digest) = beside_its_digest(&file, read)?;
            Ok((batches, 0, digest))
        }
        Address::S3 { .. } if !settings.allowed.object(&dataset.path) => Err(not_allowed(&dataset.path).into()),
        Address::S3 { .. } => {
            let bytes = lunapark_stores::read(&address, &settings.s3)?;
            let batches = of_table(of_object(&dataset.path, &bytes, options)?, dataset, settings)?;
            Ok((batches, 0, digest_of(&bytes)))
        }
    }
}

/// The same words for a file that is not there and one that may not be read: a request is no way to look around.
fn not_allowed(path: &str) -> Refusal {
    Refusal::data(format!(
        "`dataset.path` `{path}` is not a file or object that may be trained on; put it where `train.datasets` of the \
         worker's configuration allows, and check its name"
    ))
}

fn unreadable(error: TableError) -> Refusal {
    Refusal::data(format!("the data set cannot be read: {error}"))
}

/// Hashes a file while it is read; what cannot be read is not hashed to its end, which may be far.
fn beside_its_digest<T>(file: &Path, read: impl FnOnce() -> Result<T, Refusal>) -> Result<(T, String), Refusal> {
    let vain = AtomicBool::new(false);
    let (read, digest) = std::thread::scope(|scope| {
        let digest = scope.spawn(|| digest_of_file(file, &vain));
        let read = read();
        vain.store(read.is_err(), Ordering::Release);
        (read, digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let unreadable =
        |error: io::Error| Refusal::data(format!("the data set cannot be read: {}: {error}", file.display()));
    Ok((read?, digest.map_err(unreadable)?))
}

fn digest_of_file(path: &Path, vain: &AtomicBool) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; HASHED_BYTES]);
    while !vain.load(Ordering::Acquire) {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Some formats are read from their end: the object becomes a file that has no name.
fn of_object(address: &str, bytes: &[u8], options: ReadOptions) -> Result<Table, Refusal> {
    let name = Path::new(address).file_name().map_or_else(|| "object".into(), |name| name.to_string_lossy());
    let folder = std::env::temp_dir().join(format!("lunapark-{}", lunapark_stores::catalog::decision_id()));
    let file = folder.join(&*name);
    let written = std::fs::create_dir(&folder).and_then(|()| File::create_new(&file)?.write_all(bytes));
    let table = match written {
        Ok(()) => Table::open(&file, options).map_err(unreadable),
        Err(error) => Err(Refusal::data(format!("{} cannot be written: {error}", file.display()))),
    };
    let removed = std::fs::remove_dir_all(&folder);
    tracing::debug!(?removed, "the object's file is open and has no name");
    table
}

/// The rows of a range.
fn of_topic(range: &TopicRange, dataset: &Dataset, log: &dyn Log, settings: &JobSettings) -> Result<Rows, Fault> {
    let mut slices = Slices::new(settings.max_dataset_bytes);
    slices.read(range, dataset, log)?;
    let (unlabelled, lines) = (slices.unlabelled, slices.lines());
    let digest = digest_of(&lines);
    let options = ReadOptions { kind: Some(Kind::Ndjson), ..Default::default() };
    let table = Table::pipe(Cursor::new(lines), &slices::address(range), options).map_err(unreadable)?;
    let columns: Vec<usize> = (0..table.schema().fields().len()).collect();
    let numbers = integers(table.schema(), &columns);
    Ok((collect(table, &columns, &numbers, settings)?, unlabelled, digest))
}

fn of_table(table: Table, dataset: &Dataset, settings: &JobSettings) -> Result<Vec<RecordBatch>, Refusal> {
    let columns = wanted(table.schema(), dataset);
    let numbers = integers(table.schema(), &columns);
    collect(table, &columns, &numbers, settings)
}

/// The columns that the request names; all where it names no features. What is not there the trainer refuses by name.
fn wanted(schema: &Schema, dataset: &Dataset) -> Vec<usize> {
    let named = |name: &str| match &dataset.features {
        None => true,
        Some(features) => features
            .iter()
            .map(String::as_str)
            .chain(dataset.label.as_deref())
            .chain(dataset.weights.as_deref())
            .any(|wanted| wanted == name),
    };
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| named(field.name())).map(|(index, _)| index).collect()
}

/// Whole numbers of a text's first lines may turn out to be fractions further down.
fn integers(schema: &Schema, columns: &[usize]) -> Vec<usize> {
    let whole = |kind: &DataType| match kind {
        DataType::List(item) => matches!(item.data_type(), DataType::Int64 | DataType::Null),
        kind => *kind == DataType::Int64,
    };
    columns.iter().copied().filter(|index| whole(schema.field(*index).data_type())).collect()
}

fn collect(
    table: Table,
    columns: &[usize],
    numbers: &[usize],
    settings: &JobSettings,
) -> Result<Vec<RecordBatch>, Refusal> {
    let (mut all, mut bytes) = (Vec::new(), 0u64);
    for batch in table.batches(columns, numbers).map_err(unreadable)? {
        let batch = batch.map_err(unreadable)?;
        bytes += batch.get_array_memory_size() as u64;
        if bytes > settings.max_dataset_bytes {
            return Err(too_large(settings.max_dataset_bytes));
        }
        all.push(batch);
    }
    Ok(all)
}

/// A data set must fit into the worker's memory.
pub(super) fn too_large(limit: u64) -> Refusal {
    Refusal::data(format!(
        "the data set has more than {limit} bytes in memory; name fewer `dataset.features`, take a part of it, or raise \
         `train.max_dataset_bytes` of the worker"
    ))
}

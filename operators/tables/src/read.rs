//! Reading: which columns there are, then batches of those that are wanted.

use std::io::{BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema, SchemaRef};

use crate::kind::UTF8_MARK;
use crate::source::Source;
use crate::{Kind, TableError, binary, text};

/// How a table is to be read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// The kind of file; `None` looks.
    pub kind: Option<Kind>,
    /// What separates the cells of a CSV file; `None` looks.
    pub separator: Option<u8>,
    /// Whether the first line of a CSV file names its columns.
    pub header: bool,
    /// Rows of a batch, at most.
    pub batch_rows: usize,
}

impl Default for ReadOptions {
    /// 8,192 rows: what a model scores at full speed, and a few megabytes of any event.
    fn default() -> Self {
        Self { kind: None, separator: None, header: true, batch_rows: 8192 }
    }
}

/// A table whose columns are known and whose rows are still to be read.
pub struct Table {
    name: String,
    kind: Kind,
    read: Arc<AtomicU64>,
    opened: Opened,
}

/// What a format's reader tells before the first row.
pub(crate) struct Opened {
    pub(crate) schema: SchemaRef,
    pub(crate) extent: Extent,
    pub(crate) batches: Start,
}

/// Starts reading these columns; the second list are those to be read as doubles.
pub(crate) type Start = Box<dyn FnOnce(&[usize], &[usize]) -> Result<Inner, ArrowError> + Send>;
/// Batches from a library's reader.
pub(crate) type Inner = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// How large a table is, as far as it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many rows.
    Rows(u64),
    /// So many bytes.
    Bytes(u64),
    /// A pipe.
    Unknown,
}

impl Table {
    /// Opens a file.
    pub fn open(path: &Path, options: ReadOptions) -> Result<Self, TableError> {
        Self::of(Source::file(path)?, Kind::of_name(path), options)
    }

    /// Reads a pipe; `name` stands for it in messages.
    pub fn pipe(reader: impl Read + Send + 'static, name: &str, options: ReadOptions) -> Result<Self, TableError> {
        Self::of(Source::pipe(reader, name), None, options)
    }

    /// The bytes say what is binary, the name which text it is.
    fn of(mut source: Source, named: Option<Kind>, options: ReadOptions) -> Result<Self, TableError> {
        let start = source.look(64).map_err(|error| TableError::new(&source.name, error, "check the file"))?.0;
        let kind = options.kind.unwrap_or(match (Kind::of_bytes(&start), named) {
            (binary @ (Kind::Parquet | Kind::Arrow), _) => binary,
            (text, None) => text,
            (_, Some(named)) => named,
        });
        let (name, read) = (source.name.clone(), source.position());
        let opened = guarded(&name, || match kind {
            Kind::Parquet => binary::parquet(source, options.batch_rows),
            Kind::Arrow => binary::arrow(source, &start, options.batch_rows),
            Kind::Csv => csv(source, options),
            Kind::Ndjson => ndjson(source, options),
        })??;
        Ok(Self { name, kind, read, opened })
    }

    /// All columns. Those of a CSV file are text.
    pub fn schema(&self) -> &SchemaRef {
        &self.opened.schema
    }

    /// The kind of file.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The rows, in batches of these columns (ascending). `doubles` are those among them whose integers may turn out to
    /// be fractions further down a text.
    pub fn batches(self, columns: &[usize], doubles: &[usize]) -> Result<Batches, TableError> {
        let Opened { extent, batches, .. } = self.opened;
        let inner = guarded(&self.name, || batches(columns, doubles))?;
        let inner = inner.map_err(|error| unreadable(&self.name, 0, &error))?;
        Ok(Batches { name: self.name, inner, extent, read: self.read, rows: 0 })
    }
}

fn bytes_of(source: &Source) -> Extent {
    source.len().map_or(Extent::Unknown, Extent::Bytes)
}

fn csv(mut source: Source, options: ReadOptions) -> Result<Opened, TableError> {
    let (format, schema) = text::csv(&mut source, &options)?;
    let (extent, all) = (bytes_of(&source), schema.clone());
    let start = move |columns: &[usize], _: &[usize]| {
        let builder = arrow_csv::ReaderBuilder::new(all).with_format(format).with_batch_size(options.batch_rows);
        let reader = builder.with_projection(columns.to_vec()).build_buffered(without_mark(source)?)?;
        Ok(Box::new(reader) as Inner)
    };
    Ok(Opened { schema, extent, batches: Box::new(start) })
}

fn ndjson(mut source: Source, options: ReadOptions) -> Result<Opened, TableError> {
    let schema = text::ndjson(&mut source)?;
    let (extent, all) = (bytes_of(&source), schema.clone());
    let start = move |columns: &[usize], doubles: &[usize]| {
        let field = |index: &usize| match doubles.contains(index) {
            true => text::widened(all.field(*index)),
            false => all.field(*index).clone(),
        };
        let wanted = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let builder = arrow_json::ReaderBuilder::new(wanted).with_batch_size(options.batch_rows);
        Ok(Box::new(builder.build(without_mark(source)?)?) as Inner)
    };
    Ok(Opened { schema, extent, batches: Box::new(start) })
}

fn without_mark(source: Source) -> Result<Box<dyn BufRead + Send>, ArrowError> {
    let mut reader = source.reader();
    if reader.fill_buf()?.starts_with(UTF8_MARK) {
        reader.consume(UTF8_MARK.len());
    }
    Ok(reader)
}

/// The rows of a table, batch by batch.
pub struct Batches {
    name: String,
    inner: Inner,
    extent: Extent,
    read: Arc<AtomicU64>,
    rows: u64,
}

impl Batches {
    /// The whole, for a progress bar.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// How much of the extent has been read.
    pub fn position(&self) -> u64 {
        match self.extent {
            Extent::Bytes(_) => self.read.load(Ordering::Relaxed),
            Extent::Rows(_) | Extent::Unknown => self.rows,
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let inner = &mut self.inner;
        let next = match guarded(&self.name, || inner.next()) {
            Ok(next) => next?,
            Err(error) => return Some(Err(error)),
        };
        let batch = next.map_err(|error| unreadable(&self.name, self.rows, &error));
        self.rows += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        Some(batch)
    }
}

/// The libraries may panic over a file that contradicts itself (the panic hook will have logged it): an error like others.
fn guarded<T>(name: &str, act: impl FnOnce() -> T) -> Result<T, TableError> {
    catch_unwind(AssertUnwindSafe(act))
        .map_err(|_| TableError::new(name, "the file contradicts itself", "fetch it again, or write it once more"))
}

pub(crate) fn unreadable(name: &str, rows: u64, error: &dyn std::fmt::Display) -> TableError {
    let place = if rows == 0 { String::new() } else { format!("after {rows} rows: ") };
    TableError::new(name, format!("{place}{error}"), "mend the file, or say of which kind it is")
}

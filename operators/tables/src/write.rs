//! Writing: under a temporary name, so that a table is there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_json::writer::{LineDelimited, WriterBuilder};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::{Kind, TableError};

/// Rows of a Parquet row group: what is in memory until it is written.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// A table under construction.
pub struct TableWriter {
    name: String,
    sink: Sink,
    place: Option<Place>,
}

/// Where a file will be, and where it is until then.
struct Place {
    path: PathBuf,
    temporary: PathBuf,
    overwrite: bool,
    done: bool,
}

enum Sink {
    Parquet(Box<ArrowWriter<BufWriter<File>>>),
    Csv(arrow_csv::Writer<Box<dyn Write>>),
    ArrowFile(FileWriter<BufWriter<File>>),
    ArrowStream(StreamWriter<Box<dyn Write>>),
    Ndjson(arrow_json::Writer<Box<dyn Write>, LineDelimited>),
}

impl TableWriter {
    /// A file at `path`, which appears with [`finish`](Self::finish); one that is there stays unless `overwrite`.
    pub fn create(path: &Path, kind: Kind, schema: &SchemaRef, overwrite: bool) -> Result<Self, TableError> {
        let name = path.display().to_string();
        let place = Place::new(path, overwrite).map_err(|(what, advice)| TableError::new(&name, what, advice))?;
        let file = OpenOptions::new().write(true).create_new(true).open(&place.temporary);
        let file = file.map_err(|error| TableError::new(&name, error, "check that the folder may be written to"))?;
        let sink = Sink::file(BufWriter::new(file), kind, schema);
        let sink = sink.map_err(|error| TableError::new(&name, error, "choose another format"))?;
        Ok(Self { name, sink, place: Some(place) })
    }

    /// Writes to a pipe, as it comes; `name` stands for it in messages.
    pub fn pipe(to: impl Write + 'static, name: &str, kind: Kind, schema: &SchemaRef) -> Result<Self, TableError> {
        let sink = Sink::pipe(Box::new(to), kind, schema);
        let sink = sink.map_err(|error| TableError::new(name, error, "write csv, ndjson or arrow"))?;
        Ok(Self { name: name.to_owned(), sink, place: None })
    }

    /// Appends rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        self.sink.write(batch).map_err(|error| TableError::new(&self.name, error, DISK))
    }

    /// Writes what is left; the file takes its name.
    pub fn finish(self) -> Result<(), TableError> {
        let failed = |error: &dyn std::fmt::Display| TableError::new(&self.name, error, DISK);
        self.sink.finish().map_err(|error| failed(&error))?;
        match self.place {
            Some(place) => place.take().map_err(|error| failed(&error)),
            None => Ok(()),
        }
    }
}

const DISK: &str = "check that the disk has room and may be written to";

impl Sink {
    fn file(file: BufWriter<File>, kind: Kind, schema: &SchemaRef) -> Result<Self, ArrowError> {
        match kind {
            Kind::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
                let properties = properties.set_max_row_group_row_count(Some(ROW_GROUP_ROWS)).build();
                Ok(Sink::Parquet(Box::new(ArrowWriter::try_new(file, schema.clone(), Some(properties))?)))
            }
            Kind::Arrow => Ok(Sink::ArrowFile(FileWriter::try_new(file, schema)?)),
            Kind::Csv | Kind::Ndjson => Sink::pipe(Box::new(file), kind, schema),
        }
    }

    fn pipe(to: Box<dyn Write>, kind: Kind, schema: &Schema) -> Result<Self, ArrowError> {
        match kind {
            Kind::Csv => {
                let mut writer = arrow_csv::WriterBuilder::new().with_header(true).build(to);
                // Also a table without rows has its header.
                writer.write(&RecordBatch::new_empty(schema.clone().into()))?;
                Ok(Sink::Csv(writer))
            }
            // A row has all its names, null where it has no value: readers learn the columns from any line.
            Kind::Ndjson => Ok(Sink::Ndjson(WriterBuilder::new().with_explicit_nulls(true).build(to))),
            Kind::Arrow => Ok(Sink::ArrowStream(StreamWriter::try_new(to, schema)?)),
            Kind::Parquet => Err(ArrowError::NotYetImplemented("Parquet needs a file".to_owned())),
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        match self {
            Sink::Parquet(writer) => Ok(writer.write(batch)?),
            Sink::Csv(writer) => writer.write(batch),
            Sink::ArrowFile(writer) => writer.write(batch),
            Sink::ArrowStream(writer) => writer.write(batch),
            Sink::Ndjson(writer) => writer.write(batch),
        }
    }

    fn finish(self) -> Result<(), ArrowError> {
        match self {
            Sink::Parquet(writer) => Ok(writer.into_inner()?.flush()?),
            Sink::Csv(writer) => Ok(writer.into_inner().flush()?),
            Sink::ArrowFile(mut writer) => {
                writer.finish()?;
                Ok(writer.get_mut().flush()?)
            }
            Sink::ArrowStream(mut writer) => {
                writer.finish()?;
                Ok(writer.get_mut().flush()?)
            }
            Sink::Ndjson(mut writer) => {
                writer.finish()?;
                Ok(writer.into_inner().flush()?)
            }
        }
    }
}

impl Place {
    fn new(path: &Path, overwrite: bool) -> Result<Self, (String, &'static str)> {
        if path.is_dir() {
            return Err(("a folder".to_owned(), "name a file"));
        }
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(("it is there already".to_owned(), "name another file, or overwrite it with --force"));
        }
        let Some(file) = path.file_name() else { return Err(("no file name".to_owned(), "name a file")) };
        let mut name = std::ffi::OsString::from(".");
        name.push(file);
        name.push(format!(".{}.part", std::process::id()));
        Ok(Self { path: path.to_owned(), temporary: path.with_file_name(name), overwrite, done: false })
    }

    /// Gives the file its name. A link fails where another file took the name meanwhile; a rename would replace it.
    fn take(mut self) -> io::Result<()> {
        File::open(&self.temporary)?.sync_all()?;
        match self.overwrite {
            true => fs::rename(&self.temporary, &self.path)?,
            false => fs::hard_link(&self.temporary, &self.path).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                // Not every file system has links.
                _ if self.path.symlink_metadata().is_ok() => Err(error),
                _ => fs::rename(&self.temporary, &self.path),
            })?,
        }
        self.done = self.overwrite;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.done {
            // Where it cannot be removed there is nobody left to tell.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

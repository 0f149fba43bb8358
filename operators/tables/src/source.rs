//! Where the bytes of a table come from: a file, or a pipe that is read once; how far it is read is counted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::TableError;

/// What a reader takes from the operating system at a time.
const BUFFER_BYTES: usize = 1 << 18;

/// The bytes of a table.
pub(crate) struct Source {
    /// Name in messages.
    pub(crate) name: String,
    input: Input,
    read: Arc<AtomicU64>,
}

enum Input {
    File(File),
    /// What was looked at, and the rest.
    Pipe(Box<dyn BufRead + Send>),
}

impl Source {
    pub(crate) fn file(path: &Path) -> Result<Self, TableError> {
        let name = path.display().to_string();
        let unreadable = |error: io::Error| TableError::new(&name, error, "check that it exists and may be read");
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(TableError::new(&name, "a folder", "name one file"));
        }
        Ok(Self { name, input: Input::File(file), read: Arc::default() })
    }

    pub(crate) fn pipe(reader: impl Read + Send + 'static, name: &str) -> Self {
        let read: Arc<AtomicU64> = Arc::default();
        let counted = BufReader::with_capacity(BUFFER_BYTES, Counted { inner: reader, read: read.clone() });
        Self { name: name.to_owned(), input: Input::Pipe(Box::new(counted)), read }
    }

    /// Up to `limit` bytes from the start, which will be read again; and whether that is all.
    pub(crate) fn look(&mut self, limit: usize) -> io::Result<(Vec<u8>, bool)> {
        let mut start = Vec::new();
        match &mut self.input {
            Input::File(file) => {
                file.rewind()?;
                file.take(limit as u64 + 1).read_to_end(&mut start)?;
                file.rewind()?;
            }
            Input::Pipe(pipe) => {
                pipe.take(limit as u64 + 1).read_to_end(&mut start)?;
                let rest = std::mem::replace(pipe, Box::new(io::empty()));
                *pipe = Box::new(Cursor::new(start.clone()).chain(rest));
            }
        }
        let all = start.len() <= limit;
        start.truncate(limit);
        Ok((start, all))
    }

    /// Bytes of a file; a pipe does not tell.
    pub(crate) fn len(&self) -> Option<u64> {
        match &self.input {
            Input::File(file) => file.metadata().ok().map(|metadata| metadata.len()),
            Input::Pipe(_) => None,
        }
    }

    /// Bytes taken so far, for a progress bar.
    pub(crate) fn position(&self) -> Arc<AtomicU64> {
        self.read.clone()
    }

    /// The file itself, for formats that are read from their end.
    pub(crate) fn seekable(self) -> Result<File, TableError> {
        match self.input {
            Input::File(file) => Ok(file),
            Input::Pipe(_) => {
                Err(TableError::new(&self.name, "this format is read from its end", "give a file, not a pipe"))
            }
        }
    }

    /// All bytes in order.
    pub(crate) fn reader(self) -> Box<dyn BufRead + Send> {
        match self.input {
            Input::File(file) => {
                Box::new(BufReader::with_capacity(BUFFER_BYTES, Counted { inner: file, read: self.read }))
            }
            Input::Pipe(pipe) => pipe,
        }
    }
}

/// A reader that tells how far it is.
pub(crate) struct Counted<R> {
    pub(crate) inner: R,
    pub(crate) read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl<R: Seek> Seek for Counted<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

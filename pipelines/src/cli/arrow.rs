//! Re-cuts Arrow IPC data into messages of a fixed number of rows.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};

use anyhow::{Context as _, bail};
use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};

/// What every Arrow IPC file (not stream) begins with.
const FILE_MAGIC: &[u8] = b"ARROW1";

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// Messages of `rows` rows each, the last one of what is left; each is an Arrow IPC stream of its own.
pub struct Messages {
    schema: SchemaRef,
    batches: Batches,
    rows: usize,
    rest: Option<RecordBatch>,
}

impl Messages {
    /// Of a file on disk, be it of the file or the stream format.
    pub fn of_file(mut file: File, rows: usize) -> anyhow::Result<Self> {
        let mut magic = [0; FILE_MAGIC.len()];
        let is_file = file.read_exact(&mut magic).is_ok() && magic == FILE_MAGIC;
        file.rewind().context("an Arrow file must be a real file that can be rewound")?;
        if is_file {
            let reader = FileReader::try_new_buffered(file, None).context("this Arrow file cannot be read")?;
            return Ok(Self { schema: reader.schema(), batches: Box::new(reader), rows, rest: None });
        }
        Self::of_stream(BufReader::new(file), rows)
    }

    /// Of a stream that cannot be rewound.
    pub fn of_stream(mut from: impl Read + 'static, rows: usize) -> anyhow::Result<Self> {
        let mut magic = Vec::new();
        from.by_ref().take(FILE_MAGIC.len() as u64).read_to_end(&mut magic)?;
        if magic == FILE_MAGIC {
            bail!("standard input has the Arrow file format, which must be read from its end: name the file instead");
        }
        let all = Cursor::new(magic).chain(from);
        let reader = StreamReader::try_new(all, None).context("this is no Arrow IPC stream")?;
        Ok(Self { schema: reader.schema(), batches: Box::new(reader), rows, rest: None })
    }

    /// The next message's bytes into `into`; its number of rows, 0 at the end.
    pub fn next(&mut self, into: &mut Vec<u8>) -> anyhow::Result<usize> {
        let mut rows = 0;
        let mut parts = Vec::new();
        while rows < self.rows {
            let Some(batch) = self.batch()? else { break };
            let take = batch.num_rows().min(self.rows - rows);
            if take < batch.num_rows() {
                self.rest = Some(batch.slice(take, batch.num_rows() - take));
            }
            rows += take;
            parts.push(batch.slice(0, take));
        }
        if rows > 0 {
            self.write(&parts, into)?;
        }
        Ok(rows)
    }

    fn batch(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        let batch = match self.rest.take() {
            Some(rest) => Some(rest),
            None => self.batches.next().transpose().context("the Arrow data end in the middle of a batch")?,
        };
        Ok(batch)
    }

    fn write(&self, parts: &[RecordBatch], into: &mut Vec<u8>) -> anyhow::Result<()> {
        into.clear();
        let mut writer = StreamWriter::try_new(&mut *into, &self.schema)?;
        parts.iter().filter(|part| part.num_rows() > 0).try_for_each(|part| writer.write(part))?;
        Ok(writer.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float32Array};
    use arrow_ipc::writer::FileWriter;

    use super::*;

    fn batch(from: usize, rows: usize) -> RecordBatch {
        let values: ArrayRef = Arc::new(Float32Array::from_iter_values((from..from + rows).map(|value| value as f32)));
        RecordBatch::try_from_iter([("x", values)]).unwrap()
    }

    fn values(message: &[u8]) -> Vec<f32> {
        let batches = StreamReader::try_new(message, None).unwrap().map(Result::unwrap);
        batches.flat_map(|b| b.column(0).as_any().downcast_ref::<Float32Array>().unwrap().values().to_vec()).collect()
    }

    fn cut(mut messages: Messages) -> Vec<Vec<f32>> {
        let mut all = Vec::new();
        let mut bytes = Vec::new();
        while messages.next(&mut bytes).unwrap() > 0 {
            all.push(values(&bytes));
        }
        all
    }

    fn expected() -> Vec<Vec<f32>> {
        [0..4, 4..8, 8..9].map(|rows| rows.map(|row| row as f32).collect()).into()
    }

    #[test]
    fn streams_are_cut_across_their_batches() {
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &batch(0, 1).schema()).unwrap();
        for (from, rows) in [(0, 3), (3, 0), (3, 6)] {
            writer.write(&batch(from, rows)).unwrap();
        }
        writer.finish().unwrap();
        drop(writer);
        assert_eq!(cut(Messages::of_stream(Cursor::new(bytes), 4).unwrap()), expected());
    }

    #[test]
    fn files_are_cut_and_refused_where_they_cannot_be_rewound() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut writer = FileWriter::try_new(path.reopen().unwrap(), &batch(0, 1).schema()).unwrap();
        writer.write(&batch(0, 9)).unwrap();
        writer.finish().unwrap();
        assert_eq!(cut(Messages::of_file(path.reopen().unwrap(), 4).unwrap()), expected());
        let error = Messages::of_stream(path.reopen().unwrap(), 4).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("name the file"), "{error}");
    }

    #[test]
    fn nonsense_and_cut_streams_are_errors() {
        assert!(Messages::of_stream(Cursor::new(b"{}".to_vec()), 4).is_err());
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &batch(0, 1).schema()).unwrap();
        writer.write(&batch(0, 100)).unwrap();
        drop(writer);
        bytes.truncate(bytes.len() - 100);
        let mut messages = Messages::of_stream(Cursor::new(bytes), 4).unwrap();
        assert!(messages.next(&mut Vec::new()).is_err());
    }
}

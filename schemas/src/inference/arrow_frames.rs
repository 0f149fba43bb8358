//! The frames of an Arrow IPC stream, with every claim about lengths held against the bytes that are there.
//!
//! The Arrow library allocates what a stream claims, and trusts a compressed buffer to end where it says. So all claims
//! are checked here, before the library sees them.

use arrow_ipc::{CompressionType, Message, MessageHeader, RecordBatch};

use crate::outcome::{ErrorClass, Rejection};

use super::Limits;

/// Marks a frame since Arrow 0.15; older streams start with the length.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// A compressed buffer of this length is not compressed.
const NOT_COMPRESSED: i64 = -1;

/// One message of a stream: its verified metadata, and its body.
pub(super) struct Frame<'a> {
    pub(super) message: Message<'a>,
    pub(super) body: &'a [u8],
}

/// Reads the frames one by one.
pub(super) struct Frames<'a> {
    payload: &'a [u8],
    at: usize,
}

pub(super) fn malformed(text: impl Into<String>) -> Rejection {
    Rejection::new(ErrorClass::Malformed, text)
}

impl<'a> Frames<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { payload, at: 0 }
    }

    /// The frames behind the first `begin` bytes, which were read before.
    pub(super) fn behind(payload: &'a [u8], begin: usize) -> Self {
        Self { payload, at: begin }
    }

    /// What was read so far.
    pub(super) fn passed(&self) -> &'a [u8] {
        &self.payload[..self.at]
    }

    /// The next frame; none at the end of the stream, behind which there must be nothing.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'a>>, Rejection> {
        if self.at == self.payload.len() {
            return Ok(None);
        }
        let start = self.at;
        let length = self.metadata_length()?;
        if length == 0 {
            return self.end().map(|()| None);
        }
        let metadata = self.take(length, "metadata")?;
        let message = arrow_ipc::root_as_message(metadata)
            .map_err(|error| malformed(format!("byte {start}: not an Arrow IPC message ({error}); send a stream")))?;
        let body_length = usize::try_from(message.bodyLength()).unwrap_or(usize::MAX);
        let body = self.take(body_length, "body")?;
        Ok(Some(Frame { message, body }))
    }

    fn metadata_length(&mut self) -> Result<usize, Rejection> {
        let mut length = self.take(4, "length")?;
        if length == CONTINUATION {
            length = self.take(4, "length")?;
        }
        let bytes = length.try_into().unwrap_or_default();
        let at = self.at - 4;
        usize::try_from(i32::from_le_bytes(bytes))
            .map_err(|_| malformed(format!("byte {at}: a negative length; send an Arrow IPC stream (not a file)")))
    }

    fn take(&mut self, length: usize, part: &str) -> Result<&'a [u8], Rejection> {
        let left = &self.payload[self.at..];
        let taken = left.get(..length).ok_or_else(|| {
            let (at, left) = (self.at, left.len());
            malformed(format!(
                "byte {at}: {length} bytes of {part} are announced and {left} are left; send the whole stream"
            ))
        })?;
        self.at += length;
        Ok(taken)
    }

    fn end(&self) -> Result<(), Rejection> {
        match self.payload.len() - self.at {
            0 => Ok(()),
            left => Err(malformed(format!("{left} bytes follow the end of the stream; send one stream per message"))),
        }
    }
}

/// Checks every number in a record batch's metadata; gives its rows and the bytes that it unpacks to.
pub(super) fn check_batch(batch: &RecordBatch<'_>, body: &[u8], limits: &Limits) -> Result<(usize, usize), Rejection> {
    let lies =
        || malformed("a record batch's lengths do not fit its body; send the stream as an Arrow library writes it");
    let rows = usize::try_from(batch.length()).map_err(|_| lies())?;
    let unpacked = match batch.compression() {
        None => check_buffers(batch, body, |buffer| Ok(buffer.len()))?,
        Some(how) => check_buffers(batch, body, |buffer| unpacked_length(buffer, how.codec(), limits))?,
    };
    if unpacked > limits.max_payload_bytes {
        let most = limits.max_payload_bytes;
        let text = format!("a record batch unpacks to {unpacked} bytes, the limit is {most}; send fewer rows");
        return Err(Rejection::new(ErrorClass::TooLarge, text));
    }
    let most = (unpacked.saturating_mul(8)).max(limits.max_rows) as i64;
    let sound = |length: i64, nulls: i64| (0..=most).contains(&length) && (0..=length).contains(&nulls);
    let nodes_sound = batch.nodes().is_some_and(|nodes| nodes.iter().all(|n| sound(n.length(), n.null_count())));
    if nodes_sound { Ok((rows, unpacked)) } else { Err(lies()) }
}

/// Sums up `length_of` all buffers, each of which must lie in the body.
fn check_buffers(
    batch: &RecordBatch<'_>,
    body: &[u8],
    length_of: impl Fn(&[u8]) -> Result<usize, Rejection>,
) -> Result<usize, Rejection> {
    let mut total = 0_usize;
    for buffer in batch.buffers().into_iter().flatten() {
        let (start, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let bytes = start.ok().zip(length.ok()).and_then(|(start, len)| body.get(start..)?.get(..len));
        let bytes = bytes.ok_or_else(|| {
            let (offset, length, body) = (buffer.offset(), buffer.length(), body.len());
            malformed(format!("a buffer of {length} bytes at {offset} is announced in a body of {body} bytes"))
        })?;
        total = total.saturating_add(length_of(bytes)?);
    }
    Ok(total)
}

/// The bytes that a compressed buffer takes unpacked: what it claims, or more where its frame could hold more.
fn unpacked_length(buffer: &[u8], codec: CompressionType, limits: &Limits) -> Result<usize, Rejection> {
    if buffer.is_empty() {
        return Ok(0);
    }
    let (claim, packed) = buffer.split_first_chunk::<8>().ok_or_else(|| malformed("a compressed buffer is cut off"))?;
    match (i64::from_le_bytes(*claim), codec) {
        (NOT_COMPRESSED, _) => Ok(packed.len()),
        (0, _) => Ok(0),
        (claim, _) if claim < 0 => Err(malformed("a compressed buffer claims a negative length")),
        (claim, CompressionType::LZ4_FRAME) => {
            let claim = usize::try_from(claim).unwrap_or(usize::MAX);
            let most = lz4_most(packed).ok_or_else(|| malformed("a compressed buffer is not a whole LZ4 frame"))?;
            // The library unpacks all blocks before it compares lengths: a bomb must be seen here.
            if most > claim.saturating_add(limits.max_payload_bytes) { Ok(most) } else { Ok(claim) }
        }
        (claim, _) => Ok(usize::try_from(claim).unwrap_or(usize::MAX)),
    }
}

/// The most bytes that the blocks of an LZ4 frame can unpack to; none where it is not one.
///
/// Source: lz4_Frame_format.md 1.6.4. A byte of a compressed block yields at most 255.
fn lz4_most(frame: &[u8]) -> Option<usize> {
    const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
    let (flags, descriptor) = frame.strip_prefix(&MAGIC)?.split_first_chunk::<2>()?;
    let (checksums, has_size, has_dictionary) = (flags[0] & 0x10 != 0, flags[0] & 0x08 != 0, flags[0] & 0x01 != 0);
    let max_block = match (flags[1] >> 4) & 0x07 {
        size @ 4..=7 => 1 << (8 + 2 * u32::from(size)),
        _ => return None,
    };
    let mut rest = descriptor.get(usize::from(has_size) * 8 + usize::from(has_dictionary) * 4 + 1..)?;
    let mut most = 0_usize;
    loop {
        let (size, blocks) = rest.split_first_chunk::<4>()?;
        let size = u32::from_le_bytes(*size);
        let length = (size & 0x7fff_ffff) as usize;
        if size == 0 {
            return Some(most);
        }
        most = most.saturating_add(length.saturating_mul(255).min(max_block));
        rest = blocks.get(length.checked_add(usize::from(checksums) * 4)?..)?;
    }
}

/// The name of a frame that is not wanted, for error messages.
pub(super) fn kind(header: MessageHeader) -> &'static str {
    header.variant_name().unwrap_or("unknown")
}

//! The tensors of a model's safetensors files, as 32-bit floats.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::files::{self, inside};
use crate::{EmbedError, ModelFiles};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// More files than any encoder is split into.
const MAX_SHARDS: usize = 1000;

/// The weight files, by name.
#[derive(Debug)]
pub(crate) struct WeightFiles(pub Vec<(String, Vec<u8>)>);

#[derive(Debug, Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// One file, or those that an index names.
    pub(crate) fn read(files: &dyn ModelFiles, folder: &str) -> Result<Self, EmbedError> {
        let single = inside(folder, SINGLE);
        if let Some(bytes) = files.read(&single)? {
            return Ok(Self(vec![(single, bytes)]));
        }
        let index = inside(folder, INDEX);
        let Some(Index { weight_map }) = files::json(files, &index)? else {
            return Err(EmbedError::missing(&single));
        };
        let names: BTreeSet<String> = weight_map.into_values().map(|name| inside(folder, &name)).collect();
        if names.len() > MAX_SHARDS {
            return Err(EmbedError::unreadable(&index, format!("\"weight_map\" names {} files", names.len())));
        }
        let read = |name: String| files::required(files, &name).map(|bytes| (name, bytes));
        names.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn open(&self) -> Result<Tensors<'_>, EmbedError> {
        let files = self.0.iter().map(|(name, bytes)| open(name, bytes)).collect::<Result<_, _>>()?;
        Ok(Tensors { files, prefix: String::new() })
    }
}

fn open<'a>(name: &'a str, bytes: &'a [u8]) -> Result<(&'a str, SafeTensors<'a>), EmbedError> {
    let wrong = |error| EmbedError::unreadable(name, format!("no safetensors file: {error}"));
    Ok((name, SafeTensors::deserialize(bytes).map_err(wrong)?))
}

/// The tensors of all files.
pub(crate) struct Tensors<'a> {
    files: Vec<(&'a str, SafeTensors<'a>)>,
    /// Before each name, where the encoder was saved as a part of another model.
    prefix: String,
}

impl Tensors<'_> {
    /// Finds the prefix of the names by a tensor that every encoder has.
    pub(crate) fn locate(&mut self, known: &str) {
        let names = self.files.iter().flat_map(|(_, file)| file.names());
        self.prefix = names
            .filter_map(|name| name.strip_suffix(known))
            .min_by_key(|prefix| prefix.len())
            .unwrap_or("")
            .to_owned();
    }

    /// A tensor of exactly this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EmbedError> {
        let (numbers, found, file) = self.read(name)?;
        if found != shape {
            let what =
                format!("tensor \"{}{name}\" has the shape {found:?}, the configuration says {shape:?}", self.prefix);
            return Err(EmbedError::unreadable(file, what));
        }
        Ok(numbers)
    }

    /// A matrix of any number of rows.
    pub(crate) fn table(&self, name: &str, columns: usize) -> Result<Vec<f32>, EmbedError> {
        let (numbers, found, file) = self.read(name)?;
        if found.len() != 2 || found[1] != columns || found[0] == 0 {
            let what = format!(
                "tensor \"{}{name}\" has the shape {found:?}, the configuration says [rows, {columns}]",
                self.prefix
            );
            return Err(EmbedError::unreadable(file, what));
        }
        Ok(numbers)
    }

    fn read(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>, &str), EmbedError> {
        let name = format!("{}{name}", self.prefix);
        let found = self.files.iter().find_map(|(file, tensors)| Some((*file, tensors.tensor(&name).ok()?)));
        let Some((file, view)) = found else {
            let file = self.files.first().map_or(SINGLE, |(file, _)| file);
            return Err(EmbedError::unreadable(file, format!("tensor \"{name}\" is missing")));
        };
        let Some(numbers) = floats(view.dtype(), view.data()) else {
            let what = format!("tensor \"{name}\" has the type {:?}: quantised or unknown", view.dtype());
            return Err(EmbedError::unsupported(file, what, "give the weights in float32, float16 or bfloat16"));
        };
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(EmbedError::unreadable(file, format!("tensor \"{name}\" has numbers that are not finite")));
        }
        Ok((numbers, view.shape().to_vec(), file))
    }
}

fn floats(kind: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = || bytes.as_chunks::<2>().0.iter().map(|&two| u16::from_le_bytes(two));
    match kind {
        Dtype::F32 => Some(bytes.as_chunks::<4>().0.iter().map(|&four| f32::from_le_bytes(four)).collect()),
        Dtype::F16 => Some(halves().map(half).collect()),
        Dtype::BF16 => Some(halves().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect()),
        _ => None,
    }
}

/// An IEEE half, exactly.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, mantissa) = (u32::from(bits >> 10) & 31, u32::from(bits) & 1023);
    let magnitude = match exponent {
        // Below the normal numbers the mantissa counts steps of 2^-24.
        0 => (mantissa as f32 / (1 << 24) as f32).to_bits(),
        31 => 255 << 23 | mantissa << 13,
        _ => (exponent + 112) << 23 | mantissa << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn halves_are_exact() {
        for (bits, number) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2f32.powi(-24)), (0x7bff, 65504.0), (0x3555, 0.333_251_95)]
        {
            assert_eq!(half(bits), number, "{bits:x}");
        }
        assert!(half(0x8000).is_sign_negative() && half(0x8000) == 0.0);
        assert!(half(0x7c00) == f32::INFINITY && half(0x7e00).is_nan());
    }
}

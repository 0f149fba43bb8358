//! Attention on a device, over a band of texts at once: every token looks at all tokens of its own text.

use candle_core::{D, Device as Candle, Result, Tensor};

use super::backend::Network;
use super::bands::Band;

/// A band, with what leads from the group's matrix to the padded one and back.
pub(super) struct Padded {
    pub(super) texts: usize,
    pub(super) longest: usize,
    /// Row of the first token, and how many there are.
    start: usize,
    tokens: usize,
    /// The row of each text's first token.
    pub(super) firsts: Tensor,
    /// Tokens of each text, `[texts, 1]`.
    pub(super) counts: Tensor,
    /// None where all texts have one length.
    uneven: Option<Uneven>,
}

struct Uneven {
    /// The row of each place, and the place of each row.
    rows: Tensor,
    places: Tensor,
    /// `[texts, longest]`: what keeps a place out of a softmax, or zero.
    mask: Tensor,
}

/// Biases by the distance from query to key, for the longest text of a group: `[1, heads, longest, longest]`.
pub(super) struct Biases(Tensor);

impl Padded {
    pub(super) fn of(band: &Band, device: &Candle) -> Result<Self> {
        let (texts, longest, rows) = (band.texts(), band.longest(), band.rows());
        let list = |values: Vec<u32>| {
            let count = values.len();
            Tensor::from_vec(values, count, device)
        };
        let uneven = match band.is_even() {
            true => None,
            false => Some(Uneven {
                rows: list(band.padded())?,
                places: list(band.places())?,
                mask: Tensor::from_vec(band.mask(), (texts, longest), device)?,
            }),
        };
        let counts = Tensor::from_vec(band.counts(), (texts, 1), device)?;
        let (start, tokens) = (rows.start, rows.len());
        Ok(Self { texts, longest, start, tokens, firsts: list(band.firsts())?, counts, uneven })
    }

    /// The band's rows of the group's matrix, text after text of one length.
    pub(super) fn pad(&self, rows: &Tensor) -> Result<Tensor> {
        match &self.uneven {
            Some(uneven) => rows.index_select(&uneven.rows, 0),
            None => rows.narrow(0, self.start, self.tokens),
        }
    }

    /// The way back.
    fn packed(&self, rows: Tensor) -> Result<Tensor> {
        match &self.uneven {
            Some(uneven) => rows.index_select(&uneven.places, 0),
            None => Ok(rows),
        }
    }

    /// `[texts, longest, numbers]`, with zeros at padded places.
    pub(super) fn with_padding_zero(&self, rows: Tensor) -> Result<Tensor> {
        match &self.uneven {
            Some(uneven) => rows.broadcast_mul(&uneven.mask.exp()?.unsqueeze(2)?),
            None => Ok(rows),
        }
    }

    /// Scores, `[texts, heads, queries, longest]`, without those of keys that are not there.
    fn masked(&self, scores: Tensor) -> Result<Tensor> {
        match &self.uneven {
            Some(uneven) => scores.broadcast_add(&uneven.mask.reshape((self.texts, 1, 1, self.longest))?),
            None => Ok(scores),
        }
    }
}

impl Biases {
    /// Those of some queries of a text.
    fn of(&self, first: usize, queries: usize, keys: usize) -> Result<Tensor> {
        self.0.narrow(2, first, queries)?.narrow(3, 0, keys)
    }
}

impl Network {
    /// The biases of MPNet's attention; they are the same in all layers.
    pub(super) fn biases(&self, longest: usize) -> Result<Option<Biases>> {
        let Some(table) = &self.distances else { return Ok(None) };
        let middle = table.dim(1)? / 2;
        let of = |query: usize| (0..longest).map(move |key| (middle + key - query) as u32);
        let at: Vec<u32> = (0..longest).flat_map(of).collect();
        let at = Tensor::from_vec(at, longest * longest, &self.device)?;
        let biases = table.index_select(&at, 1)?.reshape((1, self.config.heads, longest, longest))?;
        Ok(Some(Biases(biases)))
    }

    /// What each token of a band takes from its text, `[tokens, hidden]`; the queries in strips where there are too many
    /// scores for once.
    pub(super) fn attend(&self, inputs: &Tensor, band: &Padded, biases: Option<&Biases>) -> Result<Tensor> {
        let (texts, longest, heads) = (band.texts, band.longest, self.config.heads);
        let width = self.config.hidden / heads;
        let parts = band.pad(inputs)?.reshape((texts, longest, 3, heads, width))?;
        let parts = parts.permute((2, 0, 3, 1, 4))?.contiguous()?;
        let part = |which: usize| parts.get(which)?.reshape((texts * heads, longest, width));
        let (queries, keys, values) = (part(0)?, part(1)?.t()?, part(2)?);
        let step = (self.scores / (texts * heads * longest)).clamp(1, longest);
        let strip = |first: usize| {
            let count = step.min(longest - first);
            let scores = queries.narrow(1, first, count)?.contiguous()?.matmul(&keys)?;
            let scores = band.masked(scores.reshape((texts, heads, count, longest))?)?;
            let scores = match biases {
                Some(biases) => scores.broadcast_add(&biases.of(first, count, longest)?)?,
                None => scores,
            };
            softmax(scores)?.reshape((texts * heads, count, longest))?.matmul(&values)
        };
        let strips = (0..longest).step_by(step).map(strip).collect::<Result<Vec<_>>>()?;
        let context = Tensor::cat(&strips, 1)?.reshape((texts, heads, longest, width))?;
        band.packed(context.transpose(1, 2)?.reshape((texts * longest, self.config.hidden))?)
    }
}

/// Weights of the last dimension, whose sum is one.
fn softmax(scores: Tensor) -> Result<Tensor> {
    let powers = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}

//! The forward pass of a group on a device: all tokens in one matrix, but for the attention.

use candle_core::{Result, Tensor};

use super::attention::{Biases, Padded};
use super::backend::{Layer, Linear, Network, Norm};
use super::bands::bands;
use crate::Pooling;
use crate::kernel::Map;

/// The texts that have tokens, the longest first, by their place and as they are.
pub(super) fn sorted<'a>(texts: &[&'a [u32]]) -> (Vec<usize>, Vec<&'a [u32]>) {
    let mut order: Vec<usize> = (0..texts.len()).filter(|&text| !texts[text].is_empty()).collect();
    order.sort_by_key(|&text| std::cmp::Reverse(texts[text].len()));
    let in_order = order.iter().map(|&text| texts[text]).collect();
    (order, in_order)
}

impl Network {
    /// The pooled vectors of texts that are sorted, the longest first.
    pub(super) fn vectors(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let Some(&longest) = lengths.first() else { return Ok(Vec::new()) };
        let bands = bands(&lengths, self.scores / self.config.heads);
        let bands = bands.iter().map(|band| Padded::of(band, &self.device)).collect::<Result<Vec<_>>>()?;
        let biases = self.biases(longest)?;
        let mut rows = self.embedded(texts)?;
        for layer in &self.layers {
            rows = self.layer(layer, rows, &bands, biases.as_ref())?;
        }
        let pooled = bands.iter().map(|band| self.pooled(&rows, band)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&pooled, 0)?.flatten_all()?.to_vec1()
    }

    /// Word, position and type of each token, normalised.
    fn embedded(&self, texts: &[&[u32]]) -> Result<Tensor> {
        let places = texts.iter().flat_map(|text| self.config.places(text)).map(|place| place as u32);
        let (ids, places) = (texts.concat(), places.collect::<Vec<_>>());
        let tokens = ids.len();
        let ids = Tensor::from_vec(ids, tokens, &self.device)?;
        let places = Tensor::from_vec(places, tokens, &self.device)?;
        self.norm.run(&(self.words.index_select(&ids, 0)? + self.positions.index_select(&places, 0)?)?)
    }

    fn layer(&self, layer: &Layer, rows: Tensor, bands: &[Padded], biases: Option<&Biases>) -> Result<Tensor> {
        let attended = {
            let inputs = layer.attention_in.run(&rows)?;
            let context = bands.iter().map(|band| self.attend(&inputs, band, biases)).collect::<Result<Vec<_>>>()?;
            layer.attention_out.run(&Tensor::cat(&context, 0)?)?
        };
        let rows = layer.attention_norm.run(&(rows + attended)?)?;
        let wide = activated(self.config.activation, layer.wide.run(&rows)?)?;
        let narrow = layer.narrow.run(&wide)?;
        layer.norm.run(&(rows + narrow)?)
    }

    /// A vector for each text of a band.
    fn pooled(&self, rows: &Tensor, band: &Padded) -> Result<Tensor> {
        if self.pooling == Pooling::Cls {
            return rows.index_select(&band.firsts, 0);
        }
        let rows = band.pad(rows)?.reshape((band.texts, band.longest, self.config.hidden))?;
        if self.pooling == Pooling::Max {
            // What is padded is a text's own token once more.
            return rows.max(1);
        }
        let sums = band.with_padding_zero(rows)?.sum(1)?;
        let by = if self.pooling == Pooling::MeanSqrtLen { band.counts.sqrt()? } else { band.counts.clone() };
        sums.broadcast_div(&by)
    }
}

impl Linear {
    fn run(&self, rows: &Tensor) -> Result<Tensor> {
        rows.matmul(&self.weights)?.broadcast_add(&self.bias)
    }
}

impl Norm {
    /// Each row by its own mean and variance.
    fn run(&self, rows: &Tensor) -> Result<Tensor> {
        let centred = rows.broadcast_sub(&rows.mean_keepdim(1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(1)? + self.epsilon)?.sqrt()?;
        centred.broadcast_div(&deviation)?.broadcast_mul(&self.gain)?.broadcast_add(&self.shift)
    }
}

fn activated(activation: Map, rows: Tensor) -> Result<Tensor> {
    match activation {
        Map::Identity => Ok(rows),
        Map::Gelu => rows.gelu_erf(),
        Map::TanhGelu => rows.gelu(),
        Map::Relu => rows.relu(),
    }
}

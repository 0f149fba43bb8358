//! The network's weights, packed for the kernels.

use crate::EmbedError;
use crate::config::{Architecture, Config, MAX_DISTANCE};
use crate::encoder::Precision;
use crate::kernel::{Panels, Set, TileWeights, Unit};
use crate::weights::Tensors;

/// A linear layer.
#[derive(Debug)]
pub(crate) struct Linear {
    pub weights: Weights,
    pub bias: Vec<f32>,
}

/// A matrix, as what multiplies by it takes it.
#[derive(Debug)]
pub(crate) enum Weights {
    Panels(Panels),
    Tiles(Unit, TileWeights),
}

#[cfg(feature = "candle")]
impl Weights {
    /// The matrix in 32-bit floats, where it is in them.
    pub(crate) fn floats(&self) -> Option<&Panels> {
        match self {
            Weights::Panels(panels) if !panels.pairs => Some(panels),
            _ => None,
        }
    }
}

/// A layer normalisation.
#[derive(Debug)]
pub(crate) struct Norm {
    pub gain: Vec<f32>,
    pub shift: Vec<f32>,
}

/// A layer of the encoder.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Queries, keys and values side by side; the queries are scaled for the attention already.
    pub attention_in: Linear,
    pub attention_out: Linear,
    pub attention_norm: Norm,
    pub wide: Linear,
    pub narrow: Linear,
    pub norm: Norm,
}

/// The whole network.
#[derive(Debug)]
pub(crate) struct Network {
    pub config: Config,
    pub set: Set,
    pub precision: Precision,
    /// A row per token.
    pub words: Vec<f32>,
    /// A row per position, the token type's added.
    pub positions: Vec<f32>,
    pub norm: Norm,
    pub layers: Vec<Layer>,
    /// For each head a number per distance from query to key, the most negative first; empty where there are none.
    pub distances: Vec<Vec<f32>>,
}

/// Names of a layer's parts, which differ between the families.
struct Names {
    attention: [&'static str; 3],
    out: &'static str,
    norm: &'static str,
}

const BERT: Names = Names {
    attention: ["attention.self.query", "attention.self.key", "attention.self.value"],
    out: "attention.output.dense",
    norm: "attention.output.LayerNorm",
};
const MPNET: Names = Names {
    attention: ["attention.attn.q", "attention.attn.k", "attention.attn.v"],
    out: "attention.attn.o",
    norm: "attention.LayerNorm",
};

impl Network {
    /// The precision is that of the linear layers' products, and on tiles of the attention's; softmax and norms are in
    /// 32-bit floats.
    pub(crate) fn build(
        config: Config,
        mut tensors: Tensors<'_>,
        set: Set,
        precision: Precision,
    ) -> Result<Self, EmbedError> {
        let set = if precision == Precision::F32 { set.vectors() } else { set };
        tensors.locate("embeddings.word_embeddings.weight");
        let reader = Reader { tensors, config: &config, set, precision };
        let words = reader.tensors.table("embeddings.word_embeddings.weight", config.hidden)?;
        let positions = reader.positions()?;
        let norm = reader.norm("embeddings.LayerNorm")?;
        let layers = (0..config.layers).map(|layer| reader.layer(layer)).collect::<Result<_, _>>()?;
        let distances = reader.distances(positions.len() / config.hidden)?;
        Ok(Self { words, positions, norm, layers, distances, config, set, precision })
    }

    /// The most tokens that have a position.
    pub(crate) fn positions(&self) -> usize {
        (self.positions.len() / self.config.hidden).saturating_sub(self.config.first_position())
    }

    /// Tokens that have a vector.
    pub(crate) fn vocabulary(&self) -> usize {
        self.words.len() / self.config.hidden
    }
}

struct Reader<'a> {
    tensors: Tensors<'a>,
    config: &'a Config,
    set: Set,
    precision: Precision,
}

impl Reader<'_> {
    fn norm(&self, name: &str) -> Result<Norm, EmbedError> {
        let read = |part| self.tensors.tensor(&format!("{name}.{part}"), &[self.config.hidden]);
        Ok(Norm { gain: read("weight")?, shift: read("bias")? })
    }

    fn linear(&self, name: &str, from: usize, to: usize) -> Result<Linear, EmbedError> {
        let (weight, bias) = self.weight_and_bias(name, from, to)?;
        Ok(Linear { weights: self.pack(&weight, from), bias })
    }

    fn pack(&self, weights: &[f32], depth: usize) -> Weights {
        match (self.precision, self.set) {
            (Precision::F32, set) => Weights::Panels(Panels::pack(weights, depth, set.panel())),
            (Precision::Bf16, Set::Tiles(unit)) => Weights::Tiles(unit, TileWeights::pack(weights, depth)),
            (Precision::Bf16, set) => Weights::Panels(Panels::pack_pairs(weights, depth, set.panel())),
        }
    }

    fn weight_and_bias(&self, name: &str, from: usize, to: usize) -> Result<(Vec<f32>, Vec<f32>), EmbedError> {
        let weight = self.tensors.tensor(&format!("{name}.weight"), &[to, from])?;
        Ok((weight, self.tensors.tensor(&format!("{name}.bias"), &[to])?))
    }

    /// All texts are of the first token type.
    fn positions(&self) -> Result<Vec<f32>, EmbedError> {
        let hidden = self.config.hidden;
        let mut positions = self.tensors.table("embeddings.position_embeddings.weight", hidden)?;
        if self.config.architecture != Architecture::Mpnet {
            let types = self.tensors.table("embeddings.token_type_embeddings.weight", hidden)?;
            for row in positions.chunks_exact_mut(hidden) {
                row.iter_mut().zip(&types[..hidden]).for_each(|(number, own)| *number += own);
            }
        }
        Ok(positions)
    }

    fn layer(&self, layer: usize) -> Result<Layer, EmbedError> {
        let Config { hidden, intermediate, .. } = *self.config;
        let names = if self.config.architecture == Architecture::Mpnet { MPNET } else { BERT };
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        Ok(Layer {
            attention_in: self.attention(names.attention.map(name))?,
            attention_out: self.linear(&name(names.out), hidden, hidden)?,
            attention_norm: self.norm(&name(names.norm))?,
            wide: self.linear(&name("intermediate.dense"), hidden, intermediate)?,
            narrow: self.linear(&name("output.dense"), intermediate, hidden)?,
            norm: self.norm(&name("output.LayerNorm"))?,
        })
    }

    fn attention(&self, [query, key, value]: [String; 3]) -> Result<Linear, EmbedError> {
        let hidden = self.config.hidden;
        let (mut weights, mut bias) = self.weight_and_bias(&query, hidden, hidden)?;
        let scale = 1.0 / ((hidden / self.config.heads) as f32).sqrt();
        weights.iter_mut().chain(&mut bias).for_each(|number| *number *= scale);
        for name in [key, value] {
            let (more, more_bias) = self.weight_and_bias(&name, hidden, hidden)?;
            weights.extend(more);
            bias.extend(more_bias);
        }
        Ok(Linear { weights: self.pack(&weights, hidden), bias })
    }

    fn distances(&self, positions: usize) -> Result<Vec<Vec<f32>>, EmbedError> {
        let (Some(buckets), heads) = (self.config.buckets, self.config.heads) else { return Ok(vec![]) };
        let biases = self.tensors.tensor("encoder.relative_attention_bias.weight", &[buckets, heads])?;
        let farthest = positions as i64;
        let row = |distance| bucket(distance, buckets).min(buckets - 1) * heads;
        Ok((0..heads).map(|head| (-farthest..=farthest).map(|at| biases[row(at) + head]).collect()).collect())
    }
}

/// The bucket of the distance from query to key: one per distance near by, wider ones farther off, a half for each side.
fn bucket(distance: i64, buckets: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let side = if distance > 0 { half } else { 0 };
    let far = distance.unsigned_abs() as usize;
    if far < exact {
        return side + far;
    }
    let share = (far as f32 / exact as f32).ln() / (MAX_DISTANCE as f64 / exact as f64).ln() as f32;
    side + (exact + (share * (half - exact) as f32) as usize).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn buckets_are_those_of_transformers() {
        let expected =
            [(0, 0), (-1, 1), (-7, 7), (-8, 8), (-16, 10), (-127, 15), (-500, 15), (1, 17), (12, 25), (300, 31)];
        for (distance, expected) in expected {
            assert_eq!(bucket(distance, 32), expected, "{distance}");
        }
    }
}

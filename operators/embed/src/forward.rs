//! The forward pass of a group: all tokens of its texts in one matrix, without padding.

use crate::Pooling;
use crate::attention::{self, Head};
use crate::kernel::{
    AddNorm, BLOCK_ROWS, Map, Out, Pair, Product, Rows, Set, TILE_ROWS, Task, TileProduct, TileRows, ToTiles,
};
use crate::network::{Layer, Linear, Network, Norm, Weights};

/// Memory that a thread keeps from group to group.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// What each token is so far.
    hidden: Vec<f32>,
    /// Queries, keys and values.
    inputs: Vec<f32>,
    context: Vec<f32>,
    wide: Vec<f32>,
    narrow: Vec<f32>,
    rounded: Rounded,
    attention: attention::Room,
}

/// What goes into a product in bfloat16.
#[derive(Debug, Default)]
struct Rounded {
    pairs: Vec<f32>,
    tiles: TileRows,
    /// What goes from one product on tiles into the next.
    wide: TileRows,
}

impl Network {
    /// The vectors of texts, pooled and not normalised.
    pub(crate) fn pooled(&self, texts: &[&[u32]], pooling: Pooling, room: &mut Room) -> Vec<f32> {
        let width = self.config.hidden;
        let mut rows = self.forward(texts, room);
        let mut vectors = vec![0.0; texts.len() * width];
        for (text, vector) in texts.iter().zip(vectors.chunks_exact_mut(width)) {
            let (own, others) = rows.split_at(text.len() * width);
            rows = others;
            pooling.run(own, vector);
        }
        vectors
    }

    /// The last layer's vectors of all tokens, text after text.
    pub(crate) fn forward<'a>(&self, texts: &[&[u32]], room: &'a mut Room) -> &'a [f32] {
        let tokens: usize = texts.iter().map(|text| text.len()).sum();
        let Room { hidden, inputs, context, wide, narrow, rounded, attention } = room;
        let width = self.config.hidden;
        self.embed(texts, hidden, narrow);
        inputs.resize(tokens * 3 * width, 0.0);
        context.resize(tokens * width, 0.0);
        narrow.resize(tokens * width, 0.0);
        for layer in &self.layers {
            self.linear(&layer.attention_in, hidden, Map::Identity, inputs, rounded);
            self.attend(texts, inputs, context, attention);
            self.linear(&layer.attention_out, context, Map::Identity, narrow, rounded);
            self.add_norm(&layer.attention_norm, hidden, narrow);
            for rows in hidden.chunks_mut(self.block() * width) {
                self.feed_forward(layer, rows, [wide, narrow], rounded);
            }
        }
        &hidden[..]
    }

    /// Word, position and type of each token, normalised.
    fn embed(&self, texts: &[&[u32]], hidden: &mut Vec<f32>, positions: &mut Vec<f32>) {
        let width = self.config.hidden;
        hidden.clear();
        positions.clear();
        for text in texts {
            for (&token, position) in text.iter().zip(self.config.places(text)) {
                hidden.extend_from_slice(&self.words[token as usize * width..][..width]);
                positions.extend_from_slice(&self.positions[position * width..][..width]);
            }
        }
        self.add_norm(&self.norm, hidden, positions);
    }

    fn attend(&self, texts: &[&[u32]], inputs: &[f32], context: &mut [f32], room: &mut attention::Room) {
        let (hidden, width) = (self.config.hidden, self.config.hidden / self.config.heads);
        let mut start = 0;
        for text in texts {
            let end = start + text.len();
            let (inputs, context) =
                (&inputs[start * 3 * hidden..end * 3 * hidden], &mut context[start * hidden..end * hidden]);
            for head in 0..self.config.heads {
                let distances = self.distances.get(head).map(Vec::as_slice);
                Head { set: self.set, inputs, hidden, width, column: head * width, distances }.run(room, context);
            }
            start = end;
        }
    }

    /// Rows whose products go through all columns together.
    fn block(&self) -> usize {
        if matches!(self.set, Set::Tiles(_)) { TILE_ROWS } else { BLOCK_ROWS }
    }

    fn feed_forward(&self, layer: &Layer, rows: &mut [f32], [wide, narrow]: [&mut Vec<f32>; 2], rounded: &mut Rounded) {
        let narrow = &mut narrow[..rows.len()];
        if !self.on_tiles(layer, rows, narrow, rounded) {
            let numbers = rows.len() / self.config.hidden * self.config.intermediate;
            // The last rows need less, the next layer's first ones as much as before.
            wide.resize(numbers.max(wide.len()), 0.0);
            let wide = &mut wide[..numbers];
            self.linear(&layer.wide, rows, self.config.activation, wide, rounded);
            self.linear(&layer.narrow, wide, Map::Identity, narrow, rounded);
        }
        self.add_norm(&layer.norm, rows, narrow);
    }

    /// Both products of the feed-forward part: what is between them never leaves the tiles' order. False where the
    /// weights are in panels.
    fn on_tiles(&self, layer: &Layer, rows: &[f32], out: &mut [f32], rounded: &mut Rounded) -> bool {
        let (Weights::Tiles(unit, wide), Weights::Tiles(_, narrow)) = (&layer.wide.weights, &layer.narrow.weights)
        else {
            return false;
        };
        let Rounded { tiles, wide: between, .. } = rounded;
        self.to_tiles(rows, wide.height, tiles);
        let (bias, map) = (&layer.wide.bias, self.config.activation);
        unit.run(TileProduct { rows: tiles, weights: wide, bias, map, out: Out::Tiles(between) });
        let (bias, map) = (&layer.narrow.bias, Map::Identity);
        unit.run(TileProduct { rows: between, weights: narrow, bias, map, out: Out::Numbers(out, self.config.hidden) });
        true
    }

    fn linear(&self, linear: &Linear, values: &[f32], map: Map, out: &mut [f32], rounded: &mut Rounded) {
        let bias = &linear.bias;
        match &linear.weights {
            Weights::Tiles(unit, weights) => {
                let tiles = &mut rounded.tiles;
                self.to_tiles(values, weights.height, tiles);
                unit.run(TileProduct { rows: tiles, weights, bias, map, out: Out::Numbers(out, bias.len()) });
            }
            Weights::Panels(panels) => {
                let values = if panels.pairs { self.pair(values, &mut rounded.pairs) } else { values };
                let rows = Rows { values, stride: panels.depth, count: values.len() / panels.depth };
                self.set.run(Task::Product(Product { rows, panels, bias, map, out, stride: panels.columns }));
            }
        }
    }

    fn to_tiles(&self, values: &[f32], width: usize, rows: &mut TileRows) {
        let from = Rows { values, stride: width, count: values.len() / width };
        self.set.run(Task::ToTiles(ToTiles { from, width, rows }));
    }

    fn pair<'a>(&self, numbers: &[f32], pairs: &'a mut Vec<f32>) -> &'a [f32] {
        pairs.resize(numbers.len() / 2, 0.0);
        self.set.run(Task::Pair(Pair { numbers, pairs }));
        pairs
    }

    fn add_norm(&self, norm: &Norm, rows: &mut [f32], added: &[f32]) {
        let Norm { gain, shift } = norm;
        self.set.run(Task::AddNorm(AddNorm { rows, added, gain, shift, epsilon: self.config.epsilon }));
    }
}

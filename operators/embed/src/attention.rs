//! Attention inside one text: every token looks at all of its text's tokens, head by head.

use crate::kernel::{Distances, LANES, Map, Panels, Product, Rows, Set, Softmax, Task};

/// Queries whose scores lie side by side: a multiple of every tile's rows, and small enough for the nearest cache.
const STRIP: usize = 24;

/// Memory that is kept from text to text.
#[derive(Debug, Default)]
pub(crate) struct Room {
    keys: Panels,
    values: Panels,
    scores: Vec<f32>,
}

/// One head over one text.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub set: Set,
    /// Rows of the text: queries, keys and values of all heads side by side.
    pub inputs: &'a [f32],
    pub hidden: usize,
    /// Numbers of a head, and where its own begin.
    pub width: usize,
    pub column: usize,
    /// Biases by distance, the most negative first; the middle one is that of the token itself.
    pub distances: Option<&'a [f32]>,
}

impl Head<'_> {
    /// Writes the head's columns of `out`, which has `hidden` numbers per token.
    pub(crate) fn run(&self, room: &mut Room, out: &mut [f32]) {
        let stride = 3 * self.hidden;
        let tokens = self.inputs.len() / stride;
        // Keys that are not there complete the last vector: the softmax gives them no weight.
        let padded = tokens.next_multiple_of(LANES);
        self.pack(room, tokens, padded);
        room.scores.resize(STRIP * padded, 0.0);
        for first in (0..tokens).step_by(STRIP) {
            let count = STRIP.min(tokens - first);
            let scores = &mut room.scores[..count * padded];
            let rows = Rows { values: &self.inputs[first * stride + self.column..], stride, count };
            self.product(rows, &room.keys, scores, padded);
            let distances = self.distances.map(|table| Distances { table, first: table.len() / 2 - first });
            self.set.run(Task::Softmax(Softmax { scores, stride: padded, keys: tokens, distances }));
            let rows = Rows { values: scores, stride: padded, count };
            self.product(rows, &room.values, &mut out[first * self.hidden + self.column..], self.hidden);
        }
    }

    fn pack(&self, room: &mut Room, tokens: usize, padded: usize) {
        room.keys.reset(self.width, padded, self.set.panel());
        room.values.reset(tokens, self.width, self.set.panel());
        for (token, row) in self.inputs.chunks_exact(3 * self.hidden).enumerate() {
            room.keys.set_column(token, &row[self.hidden + self.column..][..self.width]);
            room.values.set_row(token, &row[2 * self.hidden + self.column..][..self.width]);
        }
    }

    fn product(&self, rows: Rows<'_>, panels: &Panels, out: &mut [f32], stride: usize) {
        self.set.run(Task::Product(Product { rows, panels, bias: &[], map: Map::Identity, out, stride }));
    }
}

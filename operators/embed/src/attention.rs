//! Attention inside one text: every token looks at all of its text's tokens, head by head.

use crate::kernel::{
    Distances, LANES, Map, Out, Panels, Product, Rows, Set, Softmax, Task, TileProduct, TileRows, TileWeights, ToTiles,
    Unit,
};

/// Queries whose scores lie side by side: a multiple of every tile's rows, and small enough for the nearest cache.
const STRIP: usize = 24;
/// The same on tiles, which take 32 rows at once and are ready for the next ones sooner.
const TILE_STRIP: usize = 64;

/// Memory that is kept from text to text.
#[derive(Debug, Default)]
pub(crate) struct Room {
    keys: Panels,
    values: Panels,
    scores: Vec<f32>,
    tiles: TileRoom,
}

/// The same for tiles.
#[derive(Debug, Default)]
struct TileRoom {
    keys: TileWeights,
    values: TileWeights,
    queries: TileRows,
    shares: TileRows,
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
        match self.set {
            Set::Tiles(unit) => self.on_tiles(unit, room, out),
            _ => self.on_panels(room, out),
        }
    }

    fn on_panels(&self, room: &mut Room, out: &mut [f32]) {
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
            self.softmax(scores, padded, tokens, first);
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

    /// In bfloat16 on tiles, but for the softmax.
    fn on_tiles(&self, unit: Unit, room: &mut Room, out: &mut [f32]) {
        let stride = 3 * self.hidden;
        let tokens = self.inputs.len() / stride;
        let padded = tokens.next_multiple_of(LANES);
        let Room { scores, tiles, .. } = room;
        self.pack_tiles(tiles, tokens, padded);
        let TileRoom { keys, values, queries, shares } = tiles;
        scores.resize(TILE_STRIP * padded, 0.0);
        for first in (0..tokens).step_by(TILE_STRIP) {
            let count = TILE_STRIP.min(tokens - first);
            let scores = &mut scores[..count * padded];
            let from = Rows { values: &self.inputs[first * stride + self.column..], stride, count };
            self.set.run(Task::ToTiles(ToTiles { from, width: self.width, rows: queries }));
            tile_product(unit, queries, keys, scores, padded);
            self.softmax(scores, padded, tokens, first);
            let from = Rows { values: scores, stride: padded, count };
            self.set.run(Task::ToTiles(ToTiles { from, width: padded, rows: shares }));
            tile_product(unit, shares, values, &mut out[first * self.hidden + self.column..], self.hidden);
        }
    }

    fn pack_tiles(&self, room: &mut TileRoom, tokens: usize, padded: usize) {
        let part = |token: usize, which: usize| {
            let row = &self.inputs[token * 3 * self.hidden..][..3 * self.hidden];
            &row[which * self.hidden + self.column..][..self.width]
        };
        room.keys.reset(self.width, padded);
        room.values.reset(padded, self.width);
        let nothing = vec![0.0; self.width];
        for token in 0..tokens {
            room.keys.set_column(token, part(token, 1));
            if token.is_multiple_of(2) {
                let next = if token + 1 < tokens { part(token + 1, 2) } else { &nothing[..] };
                room.values.set_rows(token, [part(token, 2), next]);
            }
        }
    }

    fn softmax(&self, scores: &mut [f32], stride: usize, keys: usize, first: usize) {
        let distances = self.distances.map(|table| Distances { table, first: table.len() / 2 - first });
        self.set.run(Task::Softmax(Softmax { scores, stride, keys, distances }));
    }
}

fn tile_product(unit: Unit, rows: &TileRows, weights: &TileWeights, out: &mut [f32], stride: usize) {
    unit.run(TileProduct { rows, weights, bias: &[], map: Map::Identity, out: Out::Numbers(out, stride) });
}

//! Texts of nearly one length go through the attention together, the shorter ones padded.

use std::ops::Range;

/// Texts that are shorter than the longest one by no more than an eighth of it, or by so few tokens, lie in its band: a
/// band costs some ten calls of the device per layer, whatever is in it. At most half of a band is padding: so its matrices
/// are no more than twice as large as those of its tokens.
const NEAR: usize = 16;
/// Added to the score of a key that is not there; e to its power is nothing.
pub(super) const NOTHING: f32 = -1e30;

/// Some texts of a group, whose tokens lie one after the other in its matrix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Band {
    /// Row of the first token.
    start: usize,
    /// Tokens of each text, the most first; none is without any.
    lengths: Vec<usize>,
    /// Tokens of all.
    tokens: usize,
}

/// The bands of texts of these lengths, which are sorted; each has at most `most` pairs of a query and a key, or is one text.
pub(super) fn bands(lengths: &[usize], most: usize) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    let mut start = 0;
    for &length in lengths {
        match bands.last_mut().filter(|band| band.takes(length, most)) {
            Some(band) => band.push(length),
            None => bands.push(Band { start, lengths: vec![length], tokens: length }),
        }
        start += length;
    }
    bands
}

impl Band {
    fn takes(&self, length: usize, most: usize) -> bool {
        let longest = self.longest();
        let near = longest - length <= NEAR.max(longest / 8);
        let padded = (self.texts() + 1) * longest;
        near && padded * longest <= most && padded <= 2 * (self.tokens + length)
    }

    fn push(&mut self, length: usize) {
        self.lengths.push(length);
        self.tokens += length;
    }

    pub(super) fn texts(&self) -> usize {
        self.lengths.len()
    }

    /// Tokens of the longest text, to which the others are padded.
    pub(super) fn longest(&self) -> usize {
        self.lengths.first().copied().unwrap_or(0)
    }

    /// Rows of its tokens in the group's matrix.
    pub(super) fn rows(&self) -> Range<usize> {
        self.start..self.start + self.tokens
    }

    /// Whether nothing is padded.
    pub(super) fn is_even(&self) -> bool {
        self.lengths.last() == self.lengths.first()
    }

    /// The row of each text's first token.
    pub(super) fn firsts(&self) -> Vec<u32> {
        let mut next = self.start;
        let first = |&length: &usize| {
            next += length;
            (next - length) as u32
        };
        self.lengths.iter().map(first).collect()
    }

    /// The row of each place of the padded matrix; what is padded repeats a text's last token, whose numbers are finite.
    pub(super) fn padded(&self) -> Vec<u32> {
        let longest = self.longest() as u32;
        let of = |(first, &length): (u32, &usize)| (0..longest).map(move |at| first + at.min(length as u32 - 1));
        self.firsts().into_iter().zip(&self.lengths).flat_map(of).collect()
    }

    /// The place in the padded matrix of each row.
    pub(super) fn places(&self) -> Vec<u32> {
        let longest = self.longest();
        let of = |(text, &length): (usize, &usize)| (0..length).map(move |at| (text * longest + at) as u32);
        self.lengths.iter().enumerate().flat_map(of).collect()
    }

    /// For each place of the padded matrix what keeps it out of a softmax, or zero.
    pub(super) fn mask(&self) -> Vec<f32> {
        let longest = self.longest();
        let of = |&length: &usize| (0..longest).map(move |at| if at < length { 0.0 } else { NOTHING });
        self.lengths.iter().flat_map(of).collect()
    }

    /// Tokens of each text.
    pub(super) fn counts(&self) -> Vec<f32> {
        self.lengths.iter().map(|&length| length as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_all_texts_and_keep_their_bounds() {
        let mut lengths: Vec<usize> = (0..300).map(|at| 1 + at * 7919 % 512).collect();
        lengths.sort_by_key(|&length| std::cmp::Reverse(length));
        let bands = bands(&lengths, 1 << 20);
        let all: Vec<usize> = bands.iter().flat_map(|band| band.lengths.clone()).collect();
        assert_eq!(all, lengths);
        let mut next = 0;
        for band in &bands {
            assert_eq!(band.rows().start, next);
            next = band.rows().end;
            let (longest, shortest) = (band.longest(), band.lengths[band.texts() - 1]);
            assert!(shortest * 8 >= longest * 7 || longest - shortest <= NEAR, "{band:?}");
            assert!(band.texts() * longest * longest <= 1 << 20 || band.texts() == 1, "{band:?}");
            assert!(band.texts() * longest <= 2 * band.rows().len(), "{band:?}");
        }
        assert_eq!(next, lengths.iter().sum::<usize>());
        assert!(bands.len() < 60, "{} bands", bands.len());
    }

    #[test]
    fn a_padded_band_and_back_is_what_it_was() {
        let bands = bands(&[30, 5, 4, 2], 1000);
        assert_eq!(bands.len(), 2);
        assert!(bands[0].is_even() && !bands[1].is_even());
        let band = &bands[1];
        assert_eq!((band.rows(), band.firsts()), (30..41, vec![30, 35, 39]));
        assert_eq!(band.padded(), [30, 31, 32, 33, 34, 35, 36, 37, 38, 38, 39, 40, 40, 40, 40]);
        let padded = band.padded();
        let back: Vec<usize> = band.places().iter().map(|&place| padded[place as usize] as usize).collect();
        assert_eq!(back, band.rows().collect::<Vec<_>>());
        let kept: Vec<usize> = (0..padded.len()).filter(|&place| band.mask()[place] == 0.0).collect();
        assert_eq!(kept, band.places().iter().map(|&place| place as usize).collect::<Vec<_>>());
        assert_eq!(band.counts(), [5.0, 4.0, 2.0]);
    }

    #[test]
    fn many_short_texts_are_not_padded_to_a_longer_one() {
        let lengths: Vec<usize> = std::iter::once(19).chain(std::iter::repeat_n(3, 5000)).collect();
        let bands = bands(&lengths, 1 << 21);
        let padded: usize = bands.iter().map(|band| band.texts() * band.longest()).sum();
        assert!(padded <= 15_100 && bands.len() == 2, "{padded} places in {} bands", bands.len());
    }

    #[test]
    fn a_text_of_many_tokens_is_a_band_by_itself() {
        let bands = bands(&[4000, 4000, 10], 1_000_000);
        assert_eq!(bands.iter().map(Band::texts).collect::<Vec<_>>(), [1, 1, 1]);
    }
}

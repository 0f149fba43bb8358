//! Which rows count.

/// A bit for each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
    rows: usize,
    /// How many are set: every search asks, and counting them takes longer than some searches.
    count: usize,
}

impl Bits {
    /// All rows alike.
    pub(crate) fn new(rows: usize, set: bool) -> Self {
        let count = if set { rows } else { 0 };
        let mut bits = Self { words: vec![if set { u64::MAX } else { 0 }; rows.div_ceil(64)], rows, count };
        if set && !rows.is_multiple_of(64) {
            bits.words[rows / 64] = (1 << (rows % 64)) - 1;
        }
        bits
    }

    /// The rows for which it is so.
    pub(crate) fn of(rows: usize, is: impl Fn(usize) -> bool) -> Self {
        let mut bits = Self::new(rows, false);
        (0..rows).filter(|&row| is(row)).for_each(|row| bits.set(row));
        bits
    }

    pub(crate) fn get(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    pub(crate) fn set(&mut self, row: usize) {
        self.count += usize::from(!self.get(row));
        self.words[row / 64] |= 1 << (row % 64);
    }

    pub(crate) fn clear(&mut self, row: usize) {
        self.count -= usize::from(self.get(row));
        self.words[row / 64] &= !(1 << (row % 64));
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn all(&self) -> bool {
        self.count == self.rows
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The rows that are set.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.rows).filter(|&row| self.get(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_at_the_edges_of_words_are_like_all_others() {
        for rows in [0, 1, 63, 64, 65, 128, 130] {
            let (none, all) = (Bits::new(rows, false), Bits::new(rows, true));
            assert_eq!((none.count(), all.count(), all.all()), (0, rows, true), "{rows}");
            assert_eq!(Bits::of(rows, |_| true), all);
            let third = Bits::of(rows, |row| row % 3 == 0);
            assert!(third.iter().eq((0..rows).step_by(3)));
            assert_eq!(third.count(), rows.div_ceil(3));
            let mut changed = third.clone();
            (0..rows).step_by(3).for_each(|row| changed.set(row));
            assert_eq!(changed, third, "set again");
            (0..rows).step_by(3).for_each(|row| changed.clear(row));
            (0..rows).for_each(|row| changed.clear(row));
            assert_eq!(changed, none);
        }
    }
}

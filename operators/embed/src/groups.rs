//! Texts are sorted by length and put into groups, each of which goes through the network as one matrix.

use std::ops::Range;

/// Tokens of a group when there are plenty: enough rows to be worth a pass over all weights, few enough for the caches.
const MOST: usize = 768;
/// Below this a group gets slower than a thread that waits.
const LEAST: usize = 96;

/// The order of the texts, and which parts of it go together.
#[derive(Debug)]
pub(crate) struct Groups {
    /// Longest first, so that what is left at the end is small.
    pub order: Vec<usize>,
    pub parts: Vec<Range<usize>>,
}

impl Groups {
    /// Groups of texts of these lengths, at least one for each thread where that is worth it.
    pub(crate) fn of(lengths: &[usize], threads: usize) -> Self {
        Self::within(lengths, lengths.iter().sum::<usize>().div_ceil(threads.max(1)).clamp(LEAST, MOST))
    }

    /// Groups of so many tokens at most; a text that is longer is one by itself.
    pub(crate) fn within(lengths: &[usize], budget: usize) -> Self {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&text| std::cmp::Reverse(lengths[text]));
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut tokens = 0;
        for (at, &text) in order.iter().enumerate() {
            match parts.last_mut() {
                Some(part) if tokens + lengths[text] <= budget => part.end = at + 1,
                _ => {
                    parts.push(at..at + 1);
                    tokens = 0;
                }
            }
            tokens += lengths[text];
        }
        Self { order, parts }
    }

    /// The texts of a group, out of all.
    pub(crate) fn texts<'a>(&self, part: usize, all: &[&'a [u32]]) -> Vec<&'a [u32]> {
        self.order[self.parts[part].clone()].iter().map(|&text| all[text]).collect()
    }

    /// The vectors of all texts in their own order, from those of each group.
    pub(crate) fn gathered(&self, dimension: usize, groups: impl IntoIterator<Item = Vec<f32>>) -> Vec<f32> {
        let mut values = vec![0.0; self.order.len() * dimension];
        for (part, vectors) in self.parts.iter().zip(groups) {
            for (&text, vector) in self.order[part.clone()].iter().zip(vectors.chunks_exact(dimension)) {
                values[text * dimension..][..dimension].copy_from_slice(vector);
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_in_one_group_and_groups_keep_the_budget() {
        let lengths: Vec<usize> = (0..500).map(|at| (at * 7919) % 512).chain([0, 2000]).collect();
        let groups = Groups::of(&lengths, 2);
        let mut seen: Vec<_> = groups.parts.iter().flat_map(|part| &groups.order[part.clone()]).copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        for part in &groups.parts {
            let tokens: usize = groups.order[part.clone()].iter().map(|&text| lengths[text]).sum();
            assert!(tokens <= MOST || part.len() == 1, "{tokens} tokens");
        }
    }

    #[test]
    fn vectors_come_back_to_their_texts() {
        let texts: Vec<Vec<u32>> = (0..50).map(|text| vec![text; text as usize * 31 % 17]).collect();
        let all: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let lengths: Vec<usize> = all.iter().map(|text| text.len()).collect();
        let groups = Groups::within(&lengths, 40);
        assert!(groups.parts.len() > 5);
        let vector = |text: &&[u32]| [text.len() as f32, text.first().map_or(0.0, |&token| token as f32)];
        let of = |part| groups.texts(part, &all).iter().flat_map(vector).collect::<Vec<f32>>();
        let gathered = groups.gathered(2, (0..groups.parts.len()).map(of));
        assert_eq!(gathered, all.iter().flat_map(vector).collect::<Vec<f32>>());
    }

    #[test]
    fn threads_share_what_is_little() {
        assert_eq!(Groups::of(&[100, 100, 100, 100], 2).parts.len(), 2);
        assert_eq!(Groups::of(&[10, 10, 10], 2).parts.len(), 1);
        assert!(Groups::of(&[], 2).parts.is_empty());
    }
}

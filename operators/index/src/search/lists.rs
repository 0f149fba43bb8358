//! Which lists a question looks into.
//!
//! As many as have reached the wanted recall when the lists were made. Where some rows do not count, as many more as it
//! takes to see as many rows that do; where most do not, all rows are looked at instead.

use arrow_buffer::MutableBuffer;

use super::codes::{Codes, Question};
use super::kernel_codes::CodeKernel;
use super::part::{Listed, Part};
use super::threads::each;

/// Of fewer rows than this part the lists are no help: one in so many would have to be found in all of them.
const RARE: usize = 8;
/// Questions that are compared with the centres at a time: these are read once for all of them.
const TOGETHER: usize = 32;
/// Centres that are compared with them at a time: what comes out of it stays in the first-level cache.
const CENTRES: usize = 64;
/// Lists that are held against the last of the nearest in one go.
const GLANCE: usize = 16;

/// How many lists of a part to look into for a recall; none: all rows.
pub(super) fn probes(recall: Option<usize>, part: &Part, lists: usize) -> Option<usize> {
    // Half of the lists cost more than all rows one after another.
    recall.filter(|probes| 2 * probes <= lists && part.count * RARE >= part.rows())
}

/// How near each question is to each centre: more is nearer.
pub(crate) fn nearness(kernel: CodeKernel, centres: &Codes, biases: &[f32], questions: &[Question]) -> Vec<Vec<f32>> {
    let mut near = vec![Vec::with_capacity(centres.len()); questions.len()];
    each_nearness(kernel, centres, biases, questions, |question, _, some| near[question].extend_from_slice(some));
    near
}

/// Calls `with` with a question, the first of some centres, and how near it is to these; all centres in order.
fn each_nearness(
    kernel: CodeKernel,
    centres: &Codes,
    biases: &[f32],
    questions: &[Question],
    mut with: impl FnMut(usize, usize, &[f32]),
) {
    let mut values = MutableBuffer::new(0);
    Question::side_by_side(questions.iter(), &mut values);
    let (count, stride) = (questions.len(), centres.stride);
    let (mut products, mut near) = (vec![0; CENTRES * count], [0.0; CENTRES]);
    for start in (0..centres.len()).step_by(CENTRES) {
        let rows = start..(start + CENTRES).min(centres.len());
        let (products, near) = (&mut products[..rows.len() * count], &mut near[..rows.len()]);
        kernel.products(&centres.values[start * stride..rows.end * stride], values.typed_data(), stride, products);
        kernel.run(|| {
            for (at, (question, products)) in questions.iter().zip(products.chunks_exact(rows.len())).enumerate() {
                question.highs(centres, rows.clone(), products, 0.0, near);
                near.iter_mut().zip(&biases[rows.clone()]).for_each(|(near, bias)| *near -= bias);
                with(at, start, near);
            }
        });
    }
}

/// The lists that each question looks into, nearest first.
pub(super) fn choose_all(
    kernel: CodeKernel,
    part: &Part,
    listed: &Listed,
    probes: usize,
    questions: &[Question],
    threads: usize,
) -> Vec<Vec<u32>> {
    let chunks: Vec<&[Question]> = questions.chunks(TOGETHER).collect();
    let (centres, biases) = (&listed.lists.centres, &listed.lists.biases);
    let choose = |at: usize| -> Vec<Vec<u32>> {
        if part.count < part.rows() {
            let near = nearness(kernel, centres, biases, chunks[at]);
            return near.into_iter().map(|near| choose(part, listed, probes, near)).collect();
        }
        let mut nearest: Vec<Nearest> = chunks[at].iter().map(|_| Nearest::new(probes)).collect();
        let with = |question: usize, first: usize, near: &[f32]| nearest[question].offer(first, near);
        each_nearness(kernel, centres, biases, chunks[at], with);
        nearest.into_iter().map(Nearest::sorted).collect()
    };
    each(threads, chunks.len(), choose).into_iter().flatten().collect()
}

/// The lists that a question looks into where some rows do not count, nearest first.
fn choose(part: &Part, listed: &Listed, probes: usize, near: Vec<f32>) -> Vec<u32> {
    let mut lists: Vec<(f32, u32)> = near.into_iter().zip(0..).collect();
    let wanted = probes * part.rows() / lists.len();
    let mut taken = probes.min(lists.len());
    loop {
        nearest_first(&mut lists, taken);
        let counted = lists[..taken].iter().scan(0, |seen, (_, list)| {
            let before = *seen;
            *seen += counting(part, listed, *list as usize);
            (before < wanted).then_some(*list)
        });
        let chosen: Vec<u32> = counted.collect();
        if chosen.len() < taken || taken == lists.len() {
            return chosen;
        }
        taken = taken.saturating_mul(4).min(lists.len());
    }
}

/// Keeps the nearest lists: those that [`nearest_first`] brings to the front of all, but most are only held against the last
/// of the nearest.
struct Nearest {
    most: usize,
    lists: Vec<(f32, u32)>,
    bar: f32,
}

impl Nearest {
    fn new(most: usize) -> Self {
        Self { most, lists: Vec::with_capacity(2 * most + GLANCE), bar: f32::NEG_INFINITY }
    }

    /// Some lists, by how near they are.
    #[inline]
    fn offer(&mut self, first: usize, near: &[f32]) {
        for (start, some) in (first as u32..).step_by(GLANCE).zip(near.chunks(GLANCE)) {
            let bar = self.bar;
            if some.iter().fold(true, |below, near| below & (*near < bar)) {
                continue;
            }
            self.lists.extend(some.iter().copied().zip(start..).filter(|(near, _)| near.total_cmp(&bar).is_ge()));
            if self.lists.len() >= 2 * self.most {
                nearest_first(&mut self.lists, self.most);
                self.lists.truncate(self.most);
                self.bar = self.lists.last().map_or(bar, |last| last.0);
            }
        }
    }

    /// In order.
    fn sorted(mut self) -> Vec<u32> {
        nearest_first(&mut self.lists, self.most);
        self.lists.iter().take(self.most).map(|(_, list)| *list).collect()
    }
}

/// Brings the nearest lists to the front, in order; of equally near ones the first.
fn nearest_first(lists: &mut [(f32, u32)], most: usize) {
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1));
    if most < lists.len() {
        lists.select_nth_unstable_by(most, order);
    }
    let most = most.min(lists.len());
    lists[..most].sort_unstable_by(order);
}

/// How many rows of a list count.
fn counting(part: &Part, listed: &Listed, list: usize) -> usize {
    listed.lists.range(list).filter(|&place| part.counts.get(part.row_at(place))).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::Dice;

    #[test]
    fn the_nearest_lists_are_those_of_a_full_sort() {
        let mut dice = Dice(9);
        for (count, most) in [(0, 1), (1, 1), (5, 9), (300, 1), (300, 2), (1000, 40), (1000, 600), (64, 0)] {
            for values in [3, 1 << 20] {
                // Of few values many are equal.
                let near: Vec<f32> = (0..count).map(|_| dice.below(values) as f32 - 1.0).collect();
                let mut all: Vec<(f32, u32)> = near.iter().copied().zip(0..).collect();
                all.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
                let expected: Vec<u32> = all.iter().take(most).map(|(_, list)| *list).collect();
                let mut nearest = Nearest::new(most);
                (0..).step_by(CENTRES).zip(near.chunks(CENTRES)).for_each(|(at, near)| nearest.offer(at, near));
                assert_eq!(nearest.sorted(), expected, "{most} of {count}");
            }
        }
    }
}

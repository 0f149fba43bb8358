//! Which lists a question looks into.
//!
//! As many as have reached the wanted recall when the lists were made. Where some rows do not count, as many more as it
//! takes to see as many rows that do; where most do not, all rows are looked at instead.

use super::codes::{Codes, Question};
use super::kernel_codes::CodeKernel;
use super::part::{Listed, Part};
use super::threads::each;

/// Of fewer rows than this part the lists are no help: one in so many would have to be found in all of them.
const RARE: usize = 8;
/// Questions that are compared with the centres at a time: these are read once for all of them.
const TOGETHER: usize = 16;

/// How many lists of a part to look into for a recall; none: all rows.
pub(super) fn probes(recall: Option<usize>, part: &Part, lists: usize) -> Option<usize> {
    // Half of the lists cost more than all rows one after another.
    recall.filter(|probes| 2 * probes <= lists && part.count * RARE >= part.rows())
}

/// How near each question is to each centre: more is nearer.
pub(crate) fn nearness(kernel: CodeKernel, centres: &Codes, biases: &[f32], questions: &[Question]) -> Vec<Vec<f32>> {
    let values: Vec<i8> = questions.iter().flat_map(|question| question.values.iter().copied()).collect();
    let mut products = vec![0; centres.len() * questions.len()];
    kernel.products(&centres.values, &values, centres.stride, &mut products);
    let of = |(question, products): (&Question, &[i32])| {
        let mut near = vec![0.0; centres.len()];
        question.highs(centres, 0..centres.len(), products, 0.0, &mut near);
        near.iter_mut().zip(biases).for_each(|(near, bias)| *near -= bias);
        near
    };
    questions.iter().zip(products.chunks_exact(centres.len().max(1))).map(of).collect()
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
    let choose = |at: usize| {
        let near = nearness(kernel, &listed.lists.centres, &listed.lists.biases, chunks[at]);
        near.into_iter().map(|near| choose(part, listed, probes, near)).collect::<Vec<Vec<u32>>>()
    };
    each(threads, chunks.len(), choose).into_iter().flatten().collect()
}

/// The lists that a question looks into, nearest first.
fn choose(part: &Part, listed: &Listed, probes: usize, near: Vec<f32>) -> Vec<u32> {
    let mut lists: Vec<(f32, u32)> = near.into_iter().zip(0..).collect();
    if part.count == part.rows() {
        nearest_first(&mut lists, probes);
        return lists.iter().take(probes).map(|(_, list)| *list).collect();
    }
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

//! Where nodes lie: a walk reads one line of memory for every two levels.
//!
//! A line holds the two children of a split, then their four; the root of a tree stands in the first line of its own. A
//! forest that no cache holds is as fast as the lines that its walks read.

use std::collections::VecDeque;

/// The threshold of a leaf, above every byte.
pub(super) const LEAF: u16 = 256;
/// Nodes of a line.
const NODES: usize = 8;
/// Where a tree's root stands in its first line: behind the children and theirs.
const ROOT: usize = 6;

/// A node: where the byte is not below the threshold, the walk goes to the right of the left child.
#[derive(Clone, Copy, Debug)]
pub(super) struct Small {
    /// Index of the left child; in a leaf its number, or where its number or numbers stand.
    pub left: u32,
    pub column: u16,
    pub threshold: u16,
}

impl Small {
    /// Where a walk that stands at `at`, which is this node, goes on to; it stays in a leaf. No branch.
    #[inline(always)]
    pub(super) fn next(self, at: u32, byte: u8) -> u32 {
        let child = self.left.wrapping_add(u32::from(u16::from(byte) >= self.threshold));
        if self.is_leaf() { at } else { child }
    }

    #[inline(always)]
    pub(super) fn is_leaf(self) -> bool {
        self.threshold == LEAF
    }
}

/// A line of memory, of nodes or of room.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([Small; NODES]);

/// The nodes of all trees.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<Line>);

impl Lines {
    /// A node.
    #[inline(always)]
    pub(super) fn at(&self, at: u32) -> Small {
        self.0[at as usize / NODES].0[at as usize % NODES]
    }

    /// Lays out the tree below `nodes[root]`, whose splits name their left child's place in `nodes`, the right one behind it.
    /// Gives the root's new index; none where there is no number for one.
    pub(super) fn push(&mut self, nodes: &[Small], root: u32) -> Option<u32> {
        let mut line = self.line()?;
        let top = self.put(line, ROOT, nodes[root as usize]);
        let mut splits = VecDeque::from_iter(self.split(top));
        while let Some((parent, left)) = splits.pop_front() {
            if parent != top {
                line = self.line()?;
            }
            for child in self.put_children(nodes, parent, left, line, 0) {
                let Some((parent, left)) = self.split(child) else { continue };
                let to = 2 + 2 * (child as usize % NODES);
                let below = self.put_children(nodes, parent, left, line, to);
                splits.extend(below.into_iter().filter_map(|child| self.split(child)));
            }
        }
        Some(top)
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&self.0[..])
    }

    /// An empty line, where all of its nodes have indices.
    fn line(&mut self) -> Option<usize> {
        u32::try_from((self.0.len() + 1) * NODES).ok()?;
        self.0.push(Line([Small { left: 0, column: 0, threshold: LEAF }; NODES]));
        Some(self.0.len() - 1)
    }

    fn put(&mut self, line: usize, place: usize, node: Small) -> u32 {
        self.0[line].0[place] = node;
        (line * NODES + place) as u32
    }

    /// The index of a split, and where its left child was.
    fn split(&self, at: u32) -> Option<(u32, u32)> {
        Some(self.at(at)).filter(|node| !node.is_leaf()).map(|node| (at, node.left))
    }

    /// Puts the children of a split at a place of a line; gives their new indices.
    fn put_children(&mut self, nodes: &[Small], parent: u32, left: u32, line: usize, to: usize) -> [u32; 2] {
        let children = [0, 1].map(|side| self.put(line, to + side, nodes[left as usize + side]));
        self.0[parent as usize / NODES].0[parent as usize % NODES].left = children[0];
        children
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A complete tree of so many levels, level by level; a leaf's number is its place from the left.
    fn complete(levels: u32) -> Vec<Small> {
        let inner = (1_u32 << levels) - 1;
        let split = |at: u32| Small { left: 2 * at + 1, column: at as u16, threshold: 7 };
        let leaf = |number: u32| Small { left: number, column: 0, threshold: LEAF };
        (0..inner).map(split).chain((0..=inner).map(leaf)).collect()
    }

    #[test]
    fn walks_come_where_they_came_and_read_a_line_for_two_levels() {
        for levels in 0..9 {
            let (nodes, mut lines) = (complete(levels), Lines::default());
            for root in [lines.push(&nodes, 0).unwrap(), lines.push(&nodes, 0).unwrap()] {
                for leaf in 0..1_u32 << levels {
                    let (mut at, mut read) = (root, vec![root as usize / NODES]);
                    for level in (0..levels).rev() {
                        at = lines.at(at).next(at, if leaf >> level & 1 == 1 { 9 } else { 0 });
                        read.push(at as usize / NODES);
                    }
                    read.dedup();
                    assert_eq!((lines.at(at).is_leaf(), lines.at(at).left), (true, leaf));
                    assert_eq!(read.len(), levels.div_ceil(2).max(1) as usize);
                    assert_eq!(lines.at(at).next(at, 255), at);
                }
            }
        }
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    }
}

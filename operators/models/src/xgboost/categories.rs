//! Category sets of a tree: which categories go right at which node (`RegTree::LoadCategoricalSplit`).

use std::collections::HashMap;

use super::file::Tree;
use crate::ModelError;
use crate::trees::{Categories, Truncate};

/// Words of all sets of a model, 16 MiB: a category is a few bytes in the file and may claim two million here.
const MAX_WORDS: usize = 1 << 22;
/// XGBoost's own bound (`OutOfRangeCat`): what `f32` still counts one by one.
const MAX_CATEGORY: usize = 1 << 24;

/// The sets of all trees share one budget.
#[derive(Default)]
pub(super) struct Sets {
    words: usize,
}

/// The sets of one tree.
pub(super) struct TreeSets<'a> {
    tree: &'a Tree,
    /// Where each categorical node stands in the tree's list of them.
    position: HashMap<usize, usize>,
    /// Categories taken so far: each stands in the list for one node alone.
    taken: usize,
    budget: &'a mut Sets,
}

impl Sets {
    pub(super) fn of_tree<'a>(&'a mut self, tree: &'a Tree) -> Result<TreeSets<'a>, ModelError> {
        let lengths = (tree.categories_nodes.len(), tree.categories_segments.len(), tree.categories_sizes.len());
        if lengths.0 != lengths.1 || lengths.0 != lengths.2 {
            let what = format!("categories_nodes, _segments and _sizes have {lengths:?} entries");
            return Err(ModelError::unreadable(what));
        }
        let entry = |(at, node): (usize, &i32)| usize::try_from(*node).ok().map(|node| (node, at));
        let position = tree.categories_nodes.iter().enumerate().filter_map(entry).collect();
        Ok(TreeSets { tree, position, taken: 0, budget: self })
    }
}

impl<'a> TreeSets<'a> {
    /// The set of a categorical node.
    pub(super) fn take(&mut self, node: usize) -> Result<Categories, ModelError> {
        let categories = self.categories(node)?;
        let taken = self.taken + categories.len();
        if taken > self.tree.categories.len() {
            return Err(ModelError::unreadable(format!("node {node} shares its categories with other nodes")));
        }
        let indices: Option<Vec<usize>> =
            categories.iter().map(|&c| usize::try_from(c).ok().filter(|&c| c < MAX_CATEGORY)).collect();
        let indices = indices.ok_or_else(|| {
            ModelError::unreadable(format!("node {node} has a category outside 0 to {}", MAX_CATEGORY - 1))
        })?;
        let words = indices.iter().max().map_or(0, |max| max / 32 + 1);
        self.taken = taken;
        self.budget.words += words;
        if self.budget.words > MAX_WORDS {
            let what = format!("the categories take more than {} MiB", MAX_WORDS >> 18);
            return Err(ModelError::unsupported(what, "number the categories from 0 without gaps"));
        }
        let mut bits = vec![0u32; words];
        indices.into_iter().for_each(|category| bits[category / 32] |= 1 << (category % 32));
        Ok(Categories { bits, truncate: Truncate::NonNegative })
    }

    fn categories(&self, node: usize) -> Result<&'a [i32], ModelError> {
        let tree = self.tree;
        let range = self.position.get(&node).and_then(|&at| {
            let start = usize::try_from(tree.categories_segments[at]).ok()?;
            let size = usize::try_from(tree.categories_sizes[at]).ok()?;
            tree.categories.get(start..)?.get(..size)
        });
        range.filter(|range| !range.is_empty()).ok_or_else(|| {
            ModelError::unreadable(format!("node {node} is categorical and the file has no categories for it"))
        })
    }
}

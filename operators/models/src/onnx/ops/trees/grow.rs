//! From a file's trees to the shared forest.

use super::super::super::proto::Node;
use super::{Branch, Ensemble, Item, Mode};
use crate::ModelError;
use crate::trees::{
    Categories, Combine, Forest, ForestBuilder, ForestSpec, Missing, Precision, Split, Test, Truncate, Visit, add_tree,
};

/// Greatest category of a set.
const MAX_CATEGORY: f64 = 65_535.0;
/// With a member from here on, ONNX Runtime 1.31 makes the set a mask and cuts the input's fraction off (seen by
/// trying all sets of one member up to 71, in both precisions).
const FIRST_MASKED: f64 = 31.0;

/// A forest, and how its outputs are covered.
pub(super) struct Grown {
    pub forest: Forest,
    /// Some split has a track for missing values.
    pub takes_missing: bool,
    /// Outputs that every row gets a weight for.
    pub always: Vec<bool>,
}

/// Builds the forest of `ensemble`; `columns` are the targets that become its outputs, of which each leaf may have a
/// number: `max_bytes` of them together, for a leaf of a small file may be as wide as its targets are many.
pub(super) fn grow(
    node: &Node<'_>,
    ensemble: &Ensemble,
    columns: &[usize],
    features: usize,
    precision: Precision,
    max_bytes: usize,
) -> Result<Grown, ModelError> {
    let named = |error: ModelError| ModelError { what: format!("{node}: {}", error.what), ..error };
    let base = vec![0.0; columns.len()];
    let spec = ForestSpec { features, outputs: columns.len(), precision, combine: ensemble.combine, base };
    let mut grower = Grower::new(ensemble, columns, spec, max_bytes / size_of::<f64>());
    let mut seen = vec![false; ensemble.items.len()];
    for &root in &ensemble.roots {
        grower.tree(root, &mut seen).map_err(named)?;
    }
    let always = grower.always;
    if matches!(ensemble.combine, Combine::Min | Combine::Max) && always.contains(&false) {
        return Err(node.unsupported("MIN or MAX where some target has no weight"));
    }
    let forest = grower.builder.finish().map_err(named)?;
    let track = |item: &Item| matches!(item, Item::Branch(branch) if branch.missing_true);
    Ok(Grown { forest, takes_missing: ensemble.items.iter().any(track), always })
}

/// The output of each target; none where it is left out.
fn column_of(targets: usize, columns: &[usize]) -> Vec<Option<usize>> {
    let mut column = vec![None; targets];
    columns.iter().enumerate().for_each(|(at, &target)| column[target] = Some(at));
    column
}

struct Grower<'a> {
    ensemble: &'a Ensemble,
    column: Vec<Option<usize>>,
    columns: usize,
    builder: ForestBuilder,
    always: Vec<bool>,
    leaf_numbers: usize,
    max_leaf_numbers: usize,
}

impl<'a> Grower<'a> {
    fn new(ensemble: &'a Ensemble, columns: &[usize], spec: ForestSpec, max_leaf_numbers: usize) -> Self {
        let (column, columns) = (column_of(ensemble.targets, columns), columns.len());
        let (builder, always) = (ForestBuilder::new(spec), vec![false; columns]);
        Self { ensemble, column, columns, builder, always, leaf_numbers: 0, max_leaf_numbers }
    }

    fn tree(&mut self, root: usize, seen: &mut [bool]) -> Result<(), ModelError> {
        let order = self.reached(root, seen)?;
        let only = self.only_output(&order);
        match only {
            Some(output) => {
                self.always[output] = true;
                self.builder.start_tree(output);
            }
            None => {
                self.cover(&order)?;
                self.builder.start_vector_tree();
            }
        }
        let (ensemble, column, columns) = (self.ensemble, &self.column, self.columns);
        let look = |at: usize| {
            let (item, children) = order.get(at).ok_or_else(|| ModelError::unreadable("no such node"))?;
            visit(ensemble, &ensemble.items[*item], children, |weights| match only {
                Some(_) => Visit::Leaf(weights[0].1),
                None => Visit::LeafVector(spread(weights, column, columns)),
            })
        };
        add_tree(&mut self.builder, 0, order.len(), look).map(drop)
    }

    /// The items of one tree, breadth first, each with the places of its children in this list.
    fn reached(&self, root: usize, seen: &mut [bool]) -> Result<Vec<(usize, [usize; 2])>, ModelError> {
        let mut order = Vec::new();
        enter(root, seen, &mut order)?;
        let mut at = 0;
        while let Some(&(item, _)) = order.get(at) {
            if let Item::Branch(branch) = &self.ensemble.items[item] {
                order[at].1 = [order.len(), order.len() + 1];
                enter(branch.yes, seen, &mut order)?;
                enter(branch.no, seen, &mut order)?;
            }
            at += 1;
        }
        Ok(order)
    }

    fn leaves<'o>(&'o self, order: &'o [(usize, [usize; 2])]) -> impl Iterator<Item = &'o [(usize, f64)]> {
        order.iter().filter_map(|(item, _)| match &self.ensemble.items[*item] {
            Item::Leaf(range) => self.ensemble.weights.get(range.clone()),
            Item::Branch(_) => None,
        })
    }

    /// The one output that all leaves have a number for, and no other.
    fn only_output(&self, order: &[(usize, [usize; 2])]) -> Option<usize> {
        let mut targets = self.leaves(order).map(|weights| match weights {
            [(target, _)] => Some(*target),
            _ => None,
        });
        let first = targets.next()??;
        targets.all(|target| target == Some(first)).then_some(first).and_then(|target| self.column[target])
    }

    /// Notes the outputs that every leaf has a number for, and how many numbers that makes.
    fn cover(&mut self, order: &[(usize, [usize; 2])]) -> Result<(), ModelError> {
        let mut counts = vec![0usize; self.columns];
        let mut leaves = 0usize;
        for weights in self.leaves(order) {
            leaves += 1;
            weights.iter().filter_map(|&(target, _)| self.column[target]).for_each(|output| counts[output] += 1);
        }
        counts.iter().zip(&mut self.always).for_each(|(&count, always)| *always |= count == leaves);
        self.leaf_numbers = self.leaf_numbers.saturating_add(leaves.saturating_mul(self.columns));
        if self.leaf_numbers > self.max_leaf_numbers {
            let most = self.max_leaf_numbers;
            let what = format!("its leaves have more than {most} numbers, which a file of this size may have");
            return Err(ModelError::unsupported(what, "train fewer or smaller trees, or fewer outputs"));
        }
        Ok(())
    }
}

fn enter(item: usize, seen: &mut [bool], order: &mut Vec<(usize, [usize; 2])>) -> Result<(), ModelError> {
    if std::mem::replace(&mut seen[item], true) {
        return Err(ModelError::unreadable(format!("node {item} is reached twice (a cycle, or a shared child)")));
    }
    order.push((item, [0, 0]));
    Ok(())
}

fn spread(weights: &[(usize, f64)], column: &[Option<usize>], columns: usize) -> Vec<f64> {
    let mut numbers = vec![0.0; columns];
    for &(target, weight) in weights {
        if let Some(output) = column[target] {
            numbers[output] = weight;
        }
    }
    numbers
}

fn visit(
    ensemble: &Ensemble,
    item: &Item,
    &[yes, no]: &[usize; 2],
    leaf: impl Fn(&[(usize, f64)]) -> Visit,
) -> Result<Visit, ModelError> {
    match item {
        Item::Leaf(range) => {
            let weights = ensemble.weights.get(range.clone()).filter(|weights| !weights.is_empty());
            weights.map(leaf).ok_or_else(|| ModelError::unreadable("a leaf without a weight"))
        }
        Item::Branch(branch) => {
            let (test, swapped) = test(branch)?;
            // `!=` is true of NaN, and so is every test of a node that tracks missing values to its true child.
            let goes_true = branch.missing_true || matches!(branch.mode, Mode::NotEqual);
            let missing = if goes_true != swapped { Missing::Yes } else { Missing::No };
            let split = Split { feature: branch.feature, test, missing, zero_is_missing: false };
            let (yes, no) = if swapped { (no, yes) } else { (yes, no) };
            Ok(Visit::Split { split, yes, no })
        }
    }
}

/// The test, and whether its children are swapped.
fn test(branch: &Branch) -> Result<(Test, bool), ModelError> {
    let value = branch.value;
    Ok(match &branch.mode {
        Mode::AtMost => (Test::AtMost(value), false),
        Mode::Below => (Test::Below(value), false),
        Mode::AtLeast => (Test::Below(value), true),
        Mode::Above => (Test::AtMost(value), true),
        Mode::Equal => (Test::Equal(value), false),
        Mode::NotEqual => (Test::Equal(value), true),
        Mode::OneOf(members) => (Test::OneOf(categories(members)?), false),
    })
}

fn categories(members: &[f64]) -> Result<Categories, ModelError> {
    let mut bits: Vec<u32> = Vec::new();
    for &member in members {
        if member.fract() != 0.0 || !(0.0..=MAX_CATEGORY).contains(&member) {
            let what = format!("a set with the member {member}");
            return Err(ModelError::unsupported(what, format!("use whole numbers from 0 to {MAX_CATEGORY}")));
        }
        let (word, bit) = (member as usize / 32, member as usize % 32);
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        bits[word] |= 1 << bit;
    }
    // Smaller sets are compared member by member, where a fraction is in none.
    let masked = members.iter().any(|&member| member >= FIRST_MASKED);
    Ok(Categories { bits, truncate: if masked { Truncate::TowardZero } else { Truncate::Exact } })
}

//! The kernels against each other and against a walk from node to node, on random forests.

use proptest::prelude::*;

use super::*;

/// A random tree, as nested nodes.
#[derive(Clone, Debug)]
enum Nested {
    Leaf(f32),
    Split(Split, Box<[Nested; 2]>),
}

const FEATURES: usize = 5;

/// Values and thresholds share a few numbers, so that equality is common.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![(-4i8..5).prop_map(|x| f32::from(x) * 0.5), -2.0f32..2.0]
}

fn tree(depth: u32) -> impl Strategy<Value = Nested> {
    (-1.0f32..1.0).prop_map(Nested::Leaf).prop_recursive(depth, 96, 2, |inner| {
        let split = (0..FEATURES as u32, value(), any::<bool>());
        let children = (inner.clone(), inner);
        (split, children).prop_map(|((feature, threshold, missing_right), (left, right))| {
            Nested::Split(Split { feature, threshold, missing_right }, Box::new([left, right]))
        })
    })
}

fn forest(base: f32, trees: &[Nested]) -> Forest {
    let mut builder = ForestBuilder::new(FEATURES, base);
    for tree in trees {
        builder.start_tree();
        let mut level = vec![tree];
        while !level.is_empty() {
            let mut next = Vec::new();
            for node in level {
                match node {
                    Nested::Leaf(leaf) => builder.leaf(*leaf),
                    Nested::Split(split, children) => {
                        builder.split(*split);
                        next.extend(children.iter());
                    }
                }
            }
            level = next;
        }
    }
    builder.finish()
}

fn walk(tree: &Nested, row: &[f32]) -> f32 {
    match tree {
        Nested::Leaf(leaf) => *leaf,
        Nested::Split(split, children) => {
            let x = row[split.feature as usize];
            let left = if x.is_nan() { !split.missing_right } else { x < split.threshold };
            walk(&children[usize::from(!left)], row)
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Compares the kernel that this machine chose and the portable one with the walk, bit for bit.
fn check(base: f32, trees: &[Nested], rows: &[f32]) -> Result<(), TestCaseError> {
    let forest = forest(base, trees);
    let expected: Vec<f32> =
        rows.chunks_exact(FEATURES).map(|row| trees.iter().fold(base, |sum, tree| sum + walk(tree, row))).collect();
    let mut margins = vec![f32::NAN; expected.len()];
    forest.margins(rows, &mut margins);
    prop_assert_eq!(bits(&margins), bits(&expected), "{}", forest.kernel());
    margins.fill(f32::NAN);
    portable::margins(&forest, rows, &mut margins);
    prop_assert_eq!(bits(&margins), bits(&expected), "portable");
    Ok(())
}

fn rows(with_missing: bool) -> impl Strategy<Value = Vec<f32>> {
    let missing = if with_missing { 2 } else { 0 };
    let cell = prop_oneof![6 => value(), missing => Just(f32::NAN), 1 => Just(f32::INFINITY)];
    proptest::collection::vec(proptest::collection::vec(cell, FEATURES), 0..100).prop_map(|rows| rows.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn shallow_forests(
        (trees, rows) in (1u32..7, any::<bool>()).prop_flat_map(|(depth, missing)| {
            (proptest::collection::vec(tree(depth), 1..24), rows(missing))
        }),
        base in -1.0f32..1.0,
    ) {
        check(base, &trees, &rows)?;
    }

    #[test]
    fn deep_forests(trees in proptest::collection::vec(tree(12), 1..20), rows in rows(true)) {
        check(0.5, &trees, &rows)?;
    }
}

#[test]
fn a_forest_of_single_leaves_or_of_nothing_adds_up() {
    let rows = [0.0; FEATURES * 40];
    check(0.25, &[Nested::Leaf(1.0), Nested::Leaf(2.0)], &rows).unwrap();
    check(0.25, &[], &rows).unwrap();
}

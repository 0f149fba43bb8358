//! The kernels against a walk over nested nodes, on random forests with every rule of every format.

use proptest::prelude::*;

use super::kernel::Set;
use super::*;

/// A random tree, as nested nodes: the YES child first.
#[derive(Clone, Debug)]
enum Nested {
    Leaf(Vec<f64>),
    Split(Split, Box<[Nested; 2]>),
}

/// A tree with the output that its leaves belong to; none where they have a number for each.
#[derive(Clone, Debug)]
struct RandomTree {
    root: Nested,
    output: Option<usize>,
}

const FEATURES: usize = 5;
const OUTPUTS: usize = 3;

/// What a random forest may hold.
#[derive(Clone, Copy, Debug)]
struct Kind {
    precision: Precision,
    combine: Combine,
    outputs: usize,
    vectors: bool,
    /// Only XGBoost's numeric splits.
    plain: bool,
}

const PLAIN: Kind =
    Kind { precision: Precision::Single, combine: Combine::Sum, outputs: 1, vectors: false, plain: true };

fn kinds() -> impl Strategy<Value = Kind> {
    let precision = prop_oneof![Just(Precision::Single), Just(Precision::Double)];
    let combine = prop_oneof![4 => Just(Combine::Sum), 1 => Just(Combine::Average), 1 => Just(Combine::Min), 1 => Just(Combine::Max)];
    (precision, combine, prop_oneof![Just(1), Just(OUTPUTS)], any::<bool>(), any::<bool>())
        .prop_map(|(precision, combine, outputs, vectors, plain)| Kind { precision, combine, outputs, vectors, plain })
}

/// Values and thresholds share a few numbers, so that equality is common; both are exact in single precision.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-4i8..5).prop_map(|x| f64::from(x) * 0.5),
        4 => (-2.0f32..2.0).prop_map(f64::from),
        1 => prop_oneof![Just(0.0), Just(-0.0), Just(1e-35f32), Just(2e-35), Just(-1e-36), Just(1e-45), Just(f32::MAX),
            Just(f32::INFINITY), Just(f32::NEG_INFINITY)].prop_map(f64::from),
    ]
}

fn test(plain: bool) -> BoxedStrategy<Test> {
    if plain {
        return value().prop_map(Test::Below).boxed();
    }
    let truncate = prop_oneof![Just(Truncate::TowardZero), Just(Truncate::NonNegative), Just(Truncate::Exact)];
    let set = (proptest::collection::vec(0u32..8, 0..3), truncate)
        .prop_map(|(bits, truncate)| Test::OneOf(Categories { bits, truncate }));
    prop_oneof![2 => value().prop_map(Test::Below), 2 => value().prop_map(Test::AtMost), 1 => value().prop_map(Test::Equal), 1 => set].boxed()
}

fn split(plain: bool) -> impl Strategy<Value = Split> {
    let missing = prop_oneof![2 => Just(Missing::Yes), 2 => Just(Missing::No), 1 => Just(Missing::Zero)];
    (0..FEATURES as u32, test(plain), missing, any::<bool>()).prop_map(move |(feature, test, missing, zero)| {
        let missing = if plain && missing == Missing::Zero { Missing::No } else { missing };
        Split { feature, test, missing, zero_is_missing: zero && !plain }
    })
}

fn nested(kind: Kind, width: usize, depth: u32) -> impl Strategy<Value = Nested> {
    let leaf = proptest::collection::vec((-1.0f32..1.0).prop_map(f64::from), width).prop_map(Nested::Leaf);
    leaf.prop_recursive(depth, 96, 2, move |inner| {
        let children = (inner.clone(), inner);
        (split(kind.plain), children).prop_map(|(split, (yes, no))| Nested::Split(split, Box::new([yes, no])))
    })
}

fn tree(kind: Kind, depth: u32) -> impl Strategy<Value = RandomTree> {
    let width = if kind.vectors { kind.outputs } else { 1 };
    (nested(kind, width, depth), 0..kind.outputs)
        .prop_map(move |(root, output)| RandomTree { root, output: (!kind.vectors).then_some(output) })
}

fn builder_of(kind: Kind, base: f64, trees: &[RandomTree]) -> ForestBuilder {
    let Kind { precision, combine, outputs, .. } = kind;
    let spec = ForestSpec { features: FEATURES, outputs, precision, combine, base: vec![base; outputs] };
    let mut builder = ForestBuilder::new(spec);
    for tree in trees {
        match tree.output {
            Some(output) => builder.start_tree(output),
            None => builder.start_vector_tree(),
        }
        let mut level = vec![&tree.root];
        while !level.is_empty() {
            let mut next = Vec::new();
            for node in level {
                match node {
                    Nested::Leaf(values) if kind.vectors => builder.leaf_vector(values),
                    Nested::Leaf(values) => builder.leaf(values[0]),
                    Nested::Split(split, children) => {
                        builder.split(split.clone());
                        next.extend(children.iter());
                    }
                }
            }
            level = next;
        }
    }
    builder
}

fn walk<'a>(tree: &'a Nested, row: &[f64]) -> &'a [f64] {
    match tree {
        Nested::Leaf(values) => values,
        Nested::Split(split, children) => {
            let x = row[split.feature as usize];
            let missing = x.is_nan() || (split.zero_is_missing && x.abs() <= TINY);
            let yes = match split.missing {
                Missing::Yes if missing => true,
                Missing::No if missing => false,
                _ => holds(&split.test, if missing { 0.0 } else { x }),
            };
            walk(&children[usize::from(!yes)], row)
        }
    }
}

fn holds(test: &Test, x: f64) -> bool {
    match test {
        Test::Below(t) => x < *t,
        Test::AtMost(t) => x <= *t,
        Test::Equal(t) => x == *t,
        Test::OneOf(set) => set.contains(x),
    }
}

/// One output of one row, added in the precision of the forest.
fn margin(kind: Kind, base: f64, trees: &[RandomTree], row: &[f64], output: usize) -> f64 {
    let round = |x: f64| if kind.precision == Precision::Single { f64::from(x as f32) } else { x };
    let leaves: Vec<f64> = trees
        .iter()
        .filter_map(|tree| match tree.output {
            None => Some(walk(&tree.root, row)[output]),
            Some(own) => (own == output).then(|| walk(&tree.root, row)[0]),
        })
        .collect();
    let sum = |start: f64| leaves.iter().fold(start, |sum, leaf| round(sum + leaf));
    match kind.combine {
        Combine::Sum => sum(base),
        Combine::Average => round(round(sum(0.0) / trees.len().max(1) as f64) + base),
        Combine::Min => round(leaves.iter().copied().reduce(f64::min).unwrap_or(0.0) + base),
        Combine::Max => round(leaves.iter().copied().reduce(f64::max).unwrap_or(0.0) + base),
    }
}

/// Compares every kernel that this machine has, and the literal one, with the walk, bit for bit: all rows together, and
/// some of them in small batches.
fn check(kind: Kind, base: f64, trees: &[RandomTree], rows: &[f64]) -> Result<(), TestCaseError> {
    let expected: Vec<u64> = rows
        .chunks_exact(FEATURES)
        .flat_map(|row| (0..kind.outputs).map(|output| margin(kind, base, trees, row, output).to_bits()))
        .collect();
    let mut forest = builder_of(kind, base, trees).literal().unwrap();
    prop_assert_eq!(&evaluate(&forest, rows), &expected, "literal");
    for set in Set::available() {
        forest.kernel = Kernel::new(&forest, set);
        prop_assert_eq!(forest.kernel(), set.name());
        prop_assert_eq!(&evaluate(&forest, rows), &expected, "{}", set.name());
        let few = rows.len() / FEATURES % 13;
        let (rows, expected) = (&rows[..few * FEATURES], &expected[..few * kind.outputs]);
        prop_assert_eq!(&evaluate(&forest, rows)[..], expected, "{} with few rows", set.name());
    }
    Ok(())
}

fn evaluate(forest: &Forest, rows: &[f64]) -> Vec<u64> {
    let len = rows.len() / FEATURES * forest.spec.outputs;
    let mut wide = vec![f64::NAN; len];
    if forest.spec.precision == Precision::Double {
        forest.margins_f64(rows, &mut wide);
    } else {
        let mut narrow = vec![f32::NAN; len];
        let rows: Vec<f32> = rows.iter().map(|&x| x as f32).collect();
        forest.margins(&rows, &mut narrow);
        wide.iter_mut().zip(narrow).for_each(|(wide, x)| *wide = f64::from(x));
    }
    wide.iter().map(|x| x.to_bits()).collect()
}

fn rows(with_missing: bool) -> impl Strategy<Value = Vec<f64>> {
    let missing = if with_missing { 2 } else { 0 };
    let cell = prop_oneof![6 => value(), missing => Just(f64::NAN), 1 => Just(f64::INFINITY)];
    proptest::collection::vec(proptest::collection::vec(cell, FEATURES), 0..150).prop_map(|rows| rows.concat())
}

fn forests(kind: Kind, depth: u32) -> impl Strategy<Value = (Kind, Vec<RandomTree>)> {
    proptest::collection::vec(tree(kind, depth), 1..24).prop_map(move |trees| (kind, trees))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn shallow_forests(
        ((kind, trees), rows) in (1u32..7, any::<bool>()).prop_flat_map(|(depth, missing)| {
            (forests(PLAIN, depth), rows(missing))
        }),
        base in -1.0f32..1.0,
    ) {
        check(kind, f64::from(base), &trees, &rows)?;
    }

    #[test]
    fn deep_forests((kind, trees) in forests(PLAIN, 12), rows in rows(true)) {
        check(kind, 0.5, &trees, &rows)?;
    }

    #[test]
    fn forests_with_every_rule(
        ((kind, trees), rows) in (kinds(), 1u32..12, any::<bool>()).prop_flat_map(|(kind, depth, missing)| {
            (forests(kind, depth), rows(missing))
        }),
    ) {
        check(kind, 0.25, &trees, &rows)?;
    }
}

#[test]
fn a_forest_of_single_leaves_or_of_nothing_adds_up() {
    let rows = [0.0; FEATURES * 40];
    let leaf = |value| RandomTree { root: Nested::Leaf(vec![value]), output: Some(0) };
    check(PLAIN, 0.25, &[leaf(1.0), leaf(2.0)], &rows).unwrap();
    check(PLAIN, 0.25, &[], &rows).unwrap();
}

fn split_on(feature: u32) -> Split {
    Split { feature, test: Test::Below(0.0), missing: Missing::Yes, zero_is_missing: false }
}

fn builder(outputs: usize) -> ForestBuilder {
    let (precision, combine, base) = (Precision::Single, Combine::Sum, vec![0.0; outputs]);
    ForestBuilder::new(ForestSpec { features: 2, outputs, precision, combine, base })
}

#[test]
fn trees_that_are_not_whole_are_refused() {
    type Build = fn(&mut ForestBuilder);
    let cases: [(&str, Build); 5] = [
        ("tree 0: 2 nodes for 1 splits", |b| {
            b.start_tree(0);
            b.split(split_on(0));
            b.leaf(1.0);
        }),
        ("tree 0: node 0 splits on feature 2 of 2", |b| {
            b.start_tree(0);
            b.split(split_on(2));
            b.leaf(1.0);
            b.leaf(1.0);
        }),
        ("tree 0: node 0 is a leaf for output 2 of 2", |b| {
            b.start_tree(2);
            b.leaf(1.0);
        }),
        ("tree 0: node 0 has several numbers", |b| {
            b.start_tree(0);
            b.leaf_vector(&[1.0, 2.0]);
        }),
        ("tree 0: node 0 has fewer numbers", |b| {
            b.start_vector_tree();
            b.leaf_vector(&[1.0]);
        }),
    ];
    for (words, build) in cases {
        let mut builder = builder(2);
        build(&mut builder);
        let error = builder.finish().unwrap_err();
        assert!(error.what.contains(words), "{}", error.what);
    }
}

#[test]
fn categories_follow_their_formats() {
    let set = |truncate| Categories { bits: vec![1, 2], truncate };
    for truncate in [Truncate::TowardZero, Truncate::NonNegative, Truncate::Exact] {
        let set = set(truncate);
        for outside in [1.0, 32.0, 34.0, 1e30, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -1.0] {
            assert!(!set.contains(outside), "{truncate:?} {outside}");
        }
        assert!(set.contains(0.0) && set.contains(-0.0) && set.contains(33.0), "{truncate:?}");
        assert_eq!(set.contains(-0.5), truncate == Truncate::TowardZero);
        assert_eq!(set.contains(33.5), truncate != Truncate::Exact);
    }
}

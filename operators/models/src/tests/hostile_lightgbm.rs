//! Damaged, lying and unsupported LightGBM files: an error that says what, never a panic.

use super::*;
use crate::{ModelError, ModelErrorKind};

const SMALL: &str = "4.7.0-categorical";

fn text(name: &str) -> String {
    String::from_utf8(fixture(&format!("lightgbm/{name}.txt"))).unwrap()
}

fn refuse(bytes: &[u8]) -> ModelError {
    load(bytes, "model.txt", None).expect_err("the file is bad")
}

/// The error of a model with the first line of a tree that starts with `key=` replaced.
fn refuse_line(name: &str, key: &str, value: &str) -> ModelError {
    let text = text(name);
    let (head, trees) = text.split_once("\nTree=").unwrap();
    let start = trees.find(&format!("\n{key}=")).unwrap() + 1;
    let end = start + trees[start..].find('\n').unwrap();
    refuse(format!("{head}\nTree={}{key}={value}{}", &trees[..start], &trees[end..]).as_bytes())
}

/// The error of a model whose head has this line instead.
fn refuse_head(key: &str, value: &str) -> ModelError {
    let text = text(SMALL);
    let start = text.find(&format!("\n{key}=")).unwrap() + 1;
    let end = start + text[start..].find('\n').unwrap();
    refuse(format!("{}{key}={value}{}", &text[..start], &text[end..]).as_bytes())
}

fn assert_says(error: &ModelError, kind: ModelErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind, kind, "{text}");
    assert!(text.starts_with("model.txt: "), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{text:?} lacks {word:?}"));
}

/// What follows the trees is no part of the model: without its very end it scores alike, or is refused.
#[test]
fn a_file_cut_anywhere_in_the_trees_is_refused_as_truncated() {
    for name in [SMALL, "4.7.0-linear", "2.2.3-binary"] {
        let text = text(name);
        let trees = text.find("\nend of trees").unwrap();
        for end in (5..trees).step_by(101).chain([trees, trees + 8]) {
            assert_says(&refuse(&text.as_bytes()[..end]), ModelErrorKind::Truncated, &["end of trees"]);
        }
        let parameters = text.find("\nparameters:").unwrap();
        for end in (parameters + 12..text.find("\nend of parameters").unwrap()).step_by(101) {
            assert_says(&refuse(&text.as_bytes()[..end]), ModelErrorKind::Truncated, &["parameters"]);
        }
    }
}

#[test]
fn claimed_counts_are_compared_with_the_lines() {
    for (key, value) in [("num_leaves", "1000000000"), ("num_leaves", "0"), ("num_cat", "4000000000"), ("num_cat", "0")]
    {
        let error = refuse_line(SMALL, key, value);
        assert_says(&error, ModelErrorKind::Unreadable, &["tree 0"]);
    }
    for key in
        ["leaf_value", "threshold", "split_feature", "left_child", "right_child", "decision_type", "cat_boundaries"]
    {
        assert_says(&refuse_line(SMALL, key, "1"), ModelErrorKind::Unreadable, &["tree 0", key]);
        assert_says(&refuse_line(SMALL, key, "x"), ModelErrorKind::Unreadable, &["tree 0", key]);
    }
    for key in ["num_features", "leaf_features", "leaf_coeff", "leaf_const"] {
        assert_says(&refuse_line("4.7.0-linear", key, "1"), ModelErrorKind::Unreadable, &["tree 0"]);
    }
    assert_says(&refuse_head("tree_sizes", "1 2"), ModelErrorKind::Unreadable, &["2 trees"]);
    assert_says(&refuse_head("max_feature_idx", "4000000000"), ModelErrorKind::Unsupported, &["max_feature_idx"]);
    assert_says(&refuse_head("num_tree_per_iteration", "1000000"), ModelErrorKind::Unsupported, &["1000000"]);
    assert_says(&refuse_head("feature_names", "a b"), ModelErrorKind::Unreadable, &["2 feature_names"]);
}

#[test]
fn trees_must_be_trees() {
    let text = text(SMALL);
    let splits = text.lines().find(|line| line.starts_with("left_child=")).unwrap().split(' ').count();
    let children = |child: &str| vec![child; splits].join(" ");
    let cases =
        [("0", "reached twice"), ("-1", "reached twice"), ("100000", "has the child"), ("-100000", "has the child")];
    for (child, words) in cases {
        assert_says(
            &refuse_line(SMALL, "left_child", &children(child)),
            ModelErrorKind::Unreadable,
            &["tree 0", words],
        );
    }
    let error = refuse_line(SMALL, "split_feature", &children("8"));
    assert_says(&error, ModelErrorKind::Unreadable, &["feature 8 of 8"]);
    assert_says(&refuse_line(SMALL, "threshold", &children("NaN")), ModelErrorKind::Unreadable, &["tree 0", "NaN"]);
    assert_says(
        &refuse_line(SMALL, "decision_type", &children("12")),
        ModelErrorKind::Unreadable,
        &["decision_type 12"],
    );
    let shared = refuse_line(SMALL, "threshold", &children("0"));
    assert_says(&shared, ModelErrorKind::Unreadable, &["tree 0", "share a category set"]);
    let no_set = refuse_line(SMALL, "cat_threshold", "1");
    assert_says(&no_set, ModelErrorKind::Unreadable, &["category set"]);
}

#[test]
fn what_is_not_supported_is_named() {
    assert_says(&refuse_head("objective", "mystery"), ModelErrorKind::Unsupported, &["mystery"]);
    assert_says(&refuse_head("version", "v5"), ModelErrorKind::Unsupported, &["v5", "4.x"]);
    let error = refuse(b"tree\nversion=v4\n\xff\n");
    assert_says(&error, ModelErrorKind::Unreadable, &["byte 16 is not UTF-8"]);
}

/// What LightGBM writes of labels that are all alike, and of no rounds at all.
#[test]
fn a_single_leaf_and_no_tree_at_all_are_models() {
    let head = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\n\
        objective=regression\nfeature_names=Column_0\nfeature_infos=none\n";
    let leaf = "tree_sizes=99\n\nTree=0\nnum_leaves=1\nnum_cat=0\nsplit_feature=\nsplit_gain=\nthreshold=\n\
        decision_type=\nleft_child=\nright_child=\nleaf_value=2.5\nleaf_weight=\nis_linear=0\nshrinkage=1\n\n\n";
    for (trees, answer) in [(leaf, 2.5), ("tree_sizes=\n\n", 0.0)] {
        let model = loaded(format!("{head}{trees}end of trees\n").as_bytes(), "m").model;
        let column = Values::F64(vec![1.0, f64::NAN]).into_column(&model.signature().inputs[0]).unwrap();
        let rows = RecordBatch::try_new(model.signature().input_schema(), vec![column]).unwrap();
        assert_eq!(agreement::numbers(&*model, &rows), [answer; 2]);
    }
}

#[test]
fn windows_line_ends_change_nothing() {
    let crlf = text(SMALL).replace('\n', "\r\n");
    let (ours, theirs) = (loaded(crlf.as_bytes(), "m"), loaded(text(SMALL).as_bytes(), "m"));
    assert_eq!((ours.summary, ours.model.signature()), (theirs.summary, theirs.model.signature()));
}

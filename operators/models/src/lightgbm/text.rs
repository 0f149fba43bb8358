//! LightGBM's text: a head of `key=value` lines, a block of them per tree, `end of trees`, then what scoring needs not.
//!
//! Nothing is copied: the values are slices of the file's text (`src/boosting/gbdt_model_text.cpp`).

use std::collections::HashMap;

use crate::ModelError;

/// The lines of a head or of a tree.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(HashMap<&'a str, &'a str>);

/// The parts of a file.
#[derive(Debug)]
pub(super) struct Text<'a> {
    pub head: Fields<'a>,
    pub trees: Vec<Fields<'a>>,
}

/// First line of the part after the trees, in every version.
const END: &str = "end of trees";
/// The last part, which every LightGBM writes after training, and its end.
const PARAMETERS: (&str, &str) = ("\nparameters:", "\nend of parameters");

impl<'a> Text<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            ModelError::unreadable(format!("no LightGBM model: byte {} is not UTF-8", error.valid_up_to()))
        })?;
        let (mut head, mut trees, mut in_tree) = (Fields::default(), Vec::new(), false);
        for line in text.trim_ascii_start().lines().skip(1) {
            match line {
                "" => in_tree = false,
                END => return complete(text, head, trees),
                _ if line.starts_with("Tree=") => {
                    trees.push(Fields::default());
                    in_tree = true;
                }
                _ => {
                    let (key, value) = line.split_once('=').unwrap_or((line, ""));
                    let fields = if in_tree { trees.last_mut() } else { trees.is_empty().then_some(&mut head) };
                    fields.into_iter().for_each(|fields| fields.set(key, value));
                }
            }
        }
        let what = format!("the file ends in tree {} without \"{END}\"", trees.len().saturating_sub(1));
        Err(ModelError::truncated(what))
    }
}

/// Refuses a file that lacks trees that its head counts, or the end of its parameters.
fn complete<'a>(text: &str, head: Fields<'a>, trees: Vec<Fields<'a>>) -> Result<Text<'a>, ModelError> {
    let claimed = head.get("tree_sizes").map_or(trees.len(), |sizes| sizes.split_ascii_whitespace().count());
    if claimed != trees.len() {
        let what = format!("tree_sizes tells of {claimed} trees, the file holds {}", trees.len());
        return Err(ModelError::unreadable(what));
    }
    if text.contains(PARAMETERS.0) && !text.contains(PARAMETERS.1) {
        return Err(ModelError::truncated("the file ends among the parameters"));
    }
    Ok(Text { head, trees })
}

impl<'a> Fields<'a> {
    /// The last of several lines with one key counts.
    fn set(&mut self, key: &'a str, value: &'a str) {
        self.0.insert(key, value);
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied()
    }

    fn required(&self, key: &str) -> Result<&'a str, ModelError> {
        self.get(key).ok_or_else(|| ModelError::unreadable(format!("it has no {key}")))
    }

    /// A whole number of at least zero.
    pub(super) fn count(&self, key: &str) -> Result<usize, ModelError> {
        let text = self.required(key)?;
        text.trim().parse().map_err(|_| not_a_number(key, text))
    }

    /// The numbers of a line, none where the line is absent.
    pub(super) fn numbers<T: std::str::FromStr>(&self, key: &str) -> Result<Vec<T>, ModelError> {
        let parse = |word: &str| word.parse().map_err(|_| not_a_number(key, word));
        self.get(key).unwrap_or_default().split_ascii_whitespace().map(parse).collect()
    }

    /// The same, which must be `count` many; the claimed count is compared, never used.
    pub(super) fn exactly<T: std::str::FromStr>(&self, key: &str, count: usize) -> Result<Vec<T>, ModelError> {
        let numbers = self.numbers(key)?;
        if numbers.len() == count {
            return Ok(numbers);
        }
        Err(ModelError::unreadable(format!("{key} has {} numbers, expected {count}", numbers.len())))
    }
}

fn not_a_number(key: &str, text: &str) -> ModelError {
    let shown: String = text.chars().take(40).collect();
    ModelError::unreadable(format!("{key} has \"{}\", which is no number that fits", shown.escape_debug()))
}

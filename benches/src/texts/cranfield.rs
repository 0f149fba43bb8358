//! Cranfield: 1,400 abstracts on aerodynamics, 225 questions, and how well documents answer them.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use lunapark_index::metrics::Judgements;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The collection.
pub struct Cranfield {
    /// Ids and texts; the first sentence of a text is its title.
    pub documents: Vec<(String, String)>,
    /// Numbers from 1, and texts.
    pub questions: Vec<(u32, String)>,
    judgements: HashMap<u32, Judgements>,
}

#[derive(Deserialize)]
struct Document {
    id: Value,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Question {
    #[serde(rename = "query number")]
    number: u32,
    query: String,
}

#[derive(Deserialize)]
struct Judged {
    query_num: String,
    position: i32,
    id: String,
}

impl Cranfield {
    /// Reads the three files.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let documents = read::<Vec<Document>>(&folder.join("docs.json"))?.into_iter();
        let documents = documents.map(|document| (plain(&document.id), document.body.unwrap_or_default()));
        let questions = read::<Vec<Question>>(&folder.join("queries.json"))?.into_iter();
        let mut judgements = HashMap::<u32, Judgements>::new();
        for judged in read::<Vec<Judged>>(&folder.join("qrels.json"))? {
            let of_question = judgements.entry(judged.query_num.trim().parse()?).or_default();
            of_question.insert(judged.id, gain(judged.position));
        }
        Ok(Self {
            // One of the 1,400 is empty.
            documents: documents.filter(|(_, text)| !text.trim().is_empty()).collect(),
            questions: questions.map(|question| (question.number, question.query)).collect(),
            judgements,
        })
    }

    /// What was judged for a question.
    pub fn judgements(&self, question: u32) -> &Judgements {
        static NONE: std::sync::LazyLock<Judgements> = std::sync::LazyLock::new(Judgements::new);
        self.judgements.get(&question).unwrap_or(&NONE)
    }
}

/// 1 is the best grade and 4 the least; others mean "of no interest".
fn gain(position: i32) -> f64 {
    if (1..=4).contains(&position) { f64::from(5 - position) } else { 0.0 }
}

fn plain(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_grade_has_the_highest_gain() {
        assert_eq!([-1, 0, 1, 2, 4, 5].map(gain), [0.0, 0.0, 4.0, 3.0, 1.0, 0.0]);
    }
}

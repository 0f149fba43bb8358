//! What of a collection was made by an older rule than this version's, and which command mends it.

use lunapark_index::Manifest;
use lunapark_schemas::search::SearchMode;

use crate::passages::PASSAGE_RULE;

/// Which parts of a collection are older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Older {
    words: bool,
    passages: bool,
}

impl Older {
    /// Of a version of a collection.
    pub fn of(manifest: &Manifest) -> Self {
        Self { words: manifest.has_older_words(), passages: manifest.settings.passage_rule < PASSAGE_RULE }
    }

    /// As far as it matters to questions that are decided by these.
    pub fn to(self, mode: SearchMode) -> Self {
        Self { words: self.words && mode != SearchMode::Dense, passages: self.passages && mode != SearchMode::Words }
    }

    /// What to say of it; none where nothing is older.
    pub fn told(self, collection: &str) -> Option<String> {
        let (what, command) = match (self.words, self.passages) {
            (false, false) => return None,
            (true, false) => ("words were cut", format!("compact {collection} --whole")),
            (false, true) => ("passages were embedded", format!("reindex {collection}")),
            // Which cuts the words anew, too.
            (true, true) => ("passages were embedded and words were cut", format!("reindex {collection}")),
        };
        Some(format!(
            "some {what} by an older rule than this version's, and may be found too low or not at all: \
             `lunapark collections {command}` makes them anew"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_the_command_that_mends_it() {
        let both = Older { words: true, passages: true };
        for (older, command) in [
            (both, "some passages were embedded and words were cut by an older rule"),
            (both, "`lunapark collections reindex papers`"),
            (both.to(SearchMode::Hybrid), "`lunapark collections reindex papers`"),
            (both.to(SearchMode::Dense), "some passages were embedded by an older rule"),
            (both.to(SearchMode::Words), "some words were cut by an older rule"),
            (both.to(SearchMode::Words), "`lunapark collections compact papers --whole`"),
        ] {
            let told = older.told("papers").unwrap();
            assert!(told.contains(command), "{told}");
        }
        let words = Older { words: true, passages: false };
        assert_eq!((words.to(SearchMode::Dense).told("papers"), words.told("papers").is_some()), (None, true));
    }
}

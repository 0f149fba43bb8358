//! What a word is, to BM25: the same for texts and questions.
//!
//! A text is brought into the form NFKC (full-width letters, ligatures and accents in two pieces become what people
//! type) and into lower case; words are the longest runs of letters and digits of any script. No stemming and no list of
//! stop words: both are of one language, and collections are of many.
//!
//! A passage has the words of its text, and those of its document's title where the text does not begin with that.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// A word is cut behind so many bytes: what is longer is an encoded file, and would swell the dictionary.
const MAX_WORD_BYTES: usize = 64;

/// Gives each word of a text, in its order, repeated ones again.
pub(crate) fn words(text: &str, mut each: impl FnMut(&str)) {
    match text.is_ascii() || is_nfkc_quick(text.chars()) == IsNormalized::Yes {
        true => plain_words(text, &mut each),
        false => plain_words(&text.nfkc().collect::<String>(), &mut each),
    }
}

fn plain_words(text: &str, each: &mut impl FnMut(&str)) {
    let mut lower = String::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        lower.clear();
        lower.extend(word.chars().flat_map(char::to_lowercase));
        each(cut(&lower));
    }
}

fn cut(word: &str) -> &str {
    let end = (0..=MAX_WORD_BYTES.min(word.len())).rev().find(|&end| word.is_char_boundary(end));
    &word[..end.unwrap_or(0)]
}

/// The words of a text as a list.
pub(crate) fn words_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    words(text, |word| found.push(word.to_owned()));
    found
}

/// So far into a text its title is looked for.
const TITLE_WITHIN: usize = 4096;

/// The title of a text, where the text does not begin with it or near it: then its words are not yet those of the text.
pub fn title_beside<'a>(title: &'a str, text: &str) -> Option<&'a str> {
    let title = title.trim();
    let wanted = words_of(title);
    let has = words_of(&text[..text.floor_char_boundary(TITLE_WITHIN)]);
    let stands = wanted.is_empty() || has.windows(wanted.len()).any(|words| words == wanted);
    (!stands).then_some(title)
}

/// The byte ranges of a text in which one of these words stands, for marking them.
pub fn find_words(text: &str, wanted: &[String]) -> Vec<std::ops::Range<usize>> {
    let runs = text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty());
    let range = |run: &str| {
        let start = run.as_ptr() as usize - text.as_ptr() as usize;
        start..start + run.len()
    };
    let wanted = |run: &&str| words_of(run).iter().any(|word| wanted.contains(word));
    runs.filter(wanted).map(range).collect()
}

/// The words of a question, for [`find_words`].
pub fn question_words(question: &str) -> Vec<String> {
    words_of(question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_many_scripts_are_told_apart() {
        assert_eq!(
            words_of("The Higgs-boson’s mass (125.2 GeV)"),
            ["the", "higgs", "boson", "s", "mass", "125", "2", "gev"]
        );
        assert_eq!(words_of("Perché città È ﬁne ＡＢＣ"), ["perché", "città", "è", "fine", "abc"]);
        assert_eq!(words_of("e\u{301}tude"), ["étude"], "an accent in two pieces");
        assert_eq!(words_of(" \n.,-"), Vec::<String>::new());
        let long = words_of(&"ü".repeat(100));
        assert_eq!(long, ["ü".repeat(32)]);
    }

    #[test]
    fn a_title_is_beside_a_text_that_does_not_have_it() {
        assert_eq!(title_beside(" Wings in flow ", "Of drag."), Some("Wings in flow"));
        assert_eq!(title_beside("Wings, in Flow", "# wings in flow\n\nOf drag."), None);
        assert_eq!(title_beside("Wings in flow", "wings of birds in flow"), Some("Wings in flow"));
        assert_eq!((title_beside("", "Of drag."), title_beside("—", "")), (None, None));
        assert_eq!(title_beside("drag", &format!("{}drag", "é ".repeat(2000))), Some("drag"), "far behind");
    }

    #[test]
    fn words_are_found_where_they_stand() {
        let text = "A JET, and jets";
        assert_eq!(find_words(text, &question_words("jet a")), [0..1, 2..5]);
    }
}

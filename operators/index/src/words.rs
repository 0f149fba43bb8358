//! What a word is, to BM25: the same for texts and questions.
//!
//! Scripts that write no spaces between words have every two neighbouring characters as a word (a character that stands
//! alone is one too): so parts of a clause are found without a dictionary of the language.
//!
//! A text is brought into the form NFKC (full-width letters, ligatures and accents in two pieces become what people
//! type) and into lower case; words are the longest runs of letters and digits of any script. No stemming and no list of
//! stop words: both are of one language, and collections are of many.
//!
//! A passage has the words of its text, and those of its document's title where the text does not begin with that.

use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Which rule this is: raised with each change of what words a passage has. The first one knew no titles, and no pairs of
/// characters in scripts without spaces.
pub(crate) const WORD_RULE: u32 = 2;
/// A word is cut behind so many bytes: what is longer is an encoded file, and would swell the dictionary.
const MAX_WORD_BYTES: usize = 64;
/// Letters of scripts without spaces between words: Thai and Lao, Myanmar, Khmer, kana, Han; each from, and to.
const UNSPACED: [(char, char); 13] = [
    ('\u{e00}', '\u{eff}'),
    ('\u{1000}', '\u{109f}'),
    ('\u{1780}', '\u{17ff}'),
    ('\u{3005}', '\u{3007}'),
    ('\u{3041}', '\u{30ff}'),
    ('\u{31f0}', '\u{31ff}'),
    ('\u{3400}', '\u{4dbf}'),
    ('\u{4e00}', '\u{9fff}'),
    ('\u{a9e0}', '\u{a9ff}'),
    ('\u{aa60}', '\u{aa7f}'),
    ('\u{f900}', '\u{faff}'),
    // Katakana of half the width, which NFKC makes whole.
    ('\u{ff66}', '\u{ff9f}'),
    ('\u{20000}', '\u{3ffff}'),
];

/// Gives each word of a text, in its order, repeated ones again.
pub(crate) fn words(text: &str, mut each: impl FnMut(&str)) {
    match text.is_ascii() || is_nfkc_quick(text.chars()) == IsNormalized::Yes {
        true => plain_words(text, &mut each),
        false => plain_words(&text.nfkc().collect::<String>(), &mut each),
    }
}

fn plain_words(text: &str, each: &mut impl FnMut(&str)) {
    let mut lower = String::new();
    for run in runs(text) {
        for word in pieces(run) {
            lower.clear();
            lower.extend(run[word].chars().flat_map(char::to_lowercase));
            each(cut(&lower));
        }
    }
}

/// The longest runs of letters and digits that all are of scripts with spaces, or all of scripts without.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(is_of_word)?;
        let begun = &rest[start..];
        let unspaced = begun.starts_with(is_unspaced);
        let end = begun.find(|c: char| !is_of_word(c) || is_unspaced(c) != unspaced);
        let (run, after) = begun.split_at(end.unwrap_or(begun.len()));
        rest = after;
        Some(run)
    })
}

/// Where the words of a run lie: all of it is one, or each two neighbours are.
fn pieces(run: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let unspaced = run.starts_with(is_unspaced);
    let whole = (!unspaced).then_some(0..run.len());
    whole.into_iter().chain(unspaced.then(|| pairs(run)).into_iter().flatten())
}

/// Each two neighbouring characters; a single one by itself.
fn pairs(run: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let starts = run.char_indices().map(|(at, _)| at);
    let ends = run.char_indices().map(|(at, c)| at + c.len_utf8());
    let second = usize::from(run.chars().nth(1).is_some());
    starts.zip(ends.skip(second)).map(|(start, end)| start..end)
}

/// A letter or digit; or a sign of a script without spaces that stands above or below one, as Thai tones do.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || (is_unspaced(c) && is_combining_mark(c))
}

fn is_unspaced(c: char) -> bool {
    c >= UNSPACED[0].0 && UNSPACED.iter().any(|(first, last)| (*first..=*last).contains(&c))
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
    // Those that overlap are one.
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for run in runs(text) {
        let start = run.as_ptr() as usize - text.as_ptr() as usize;
        for word in pieces(run).filter(|word| words_of(&run[word.clone()]).iter().any(|word| wanted.contains(word))) {
            let word = start + word.start..start + word.end;
            match found.last_mut().filter(|last| word.start < last.end) {
                Some(last) => last.end = word.end,
                None => found.push(word),
            }
        }
    }
    found
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

    #[test]
    fn scripts_without_spaces_have_pairs_of_characters() {
        assert_eq!(words_of("第1章 はじめに"), ["第", "1", "章", "はじ", "じめ", "めに"]);
        assert_eq!(words_of("境界層の遷移。"), ["境界", "界層", "層の", "の遷", "遷移"]);
        assert_eq!(words_of("iPhoneを買うX"), ["iphone", "を買", "買う", "x"]);
        assert_eq!(words_of("ｶﾞｽ 水"), ["ガス", "水"], "half the width, and one alone");
        assert_eq!(words_of("ขอบ"), ["ขอ", "อบ"]);
        assert_eq!(words_of("경계층 전이"), ["경계층", "전이"], "Korean has spaces");
        let clause = words_of(&"层".repeat(100));
        assert_eq!(clause, vec!["层层"; 99], "a long clause is not cut");
        for part in ["边界层", "转捩", "湍流"] {
            let text = words_of("超声速边界层转捩与湍流的数值模拟研究综述及其在高超声速飞行器设计中的应用。");
            assert!(words_of(part).iter().all(|word| text.contains(word)), "{part}");
        }
    }

    #[test]
    fn pairs_that_overlap_are_marked_as_one() {
        let text = "平板の境界層 (境 layer)";
        let marked = |question: &str| -> Vec<&str> {
            find_words(text, &question_words(question)).into_iter().map(|range| &text[range]).collect()
        };
        assert_eq!(marked("境界層とLayer"), ["境界層", "layer"]);
        assert_eq!((marked("境"), marked("板の")), (vec!["境"], vec!["板の"]));
    }
}

//! Where sentences end, in English, Italian and the languages that write alike.
//!
//! A bound is a `.`, `!`, `?` or `…` with its closing quotes and brackets, then white space, then what may begin a
//! sentence; or one of the full stops of Chinese and Japanese, which need no space. A dot after a known abbreviation, an
//! initial (`J. Doe`) or before a lower-case letter or digit ends nothing.

/// Abbreviations that a capital may follow, in lower case and without their last dot. None that is also a word.
const ABBREVIATIONS: [&str; 56] = [
    "al", "approx", "avv", "ca", "cf", "cfr", "cit", "col", "dott", "dr", "dssa", "e.g", "ecc", "ed", "edd", "eds",
    "eq", "eqn", "eqs", "fig", "figg", "figs", "geom", "i.e", "ibid", "inc", "ing", "jr", "lett", "ltd", "mr", "mrs",
    "ms", "op", "p", "pag", "pagg", "pp", "prof", "proff", "rag", "ref", "refs", "resp", "sec", "sez", "sig", "sigg",
    "sigra", "st", "suppl", "tab", "tabb", "vol", "voll", "vs",
];

/// The longest abbreviation, to look no further back.
const LONGEST: usize = 8;

/// Whether a sentence may end with the word before the white space, given what follows it.
pub(super) fn ends(before: &str, after: Option<char>) -> bool {
    let closed = before.trim_end_matches(['"', '\'', ')', ']', '}', '»', '”', '’', '›']);
    match closed.chars().next_back() {
        Some('!' | '?' | '…' | '。' | '！' | '？') => after.is_none_or(|next| !next.is_lowercase()),
        Some('.') => after.is_none_or(begins) && !abbreviates(&closed[..closed.len() - 1]),
        _ => false,
    }
}

/// A full stop that needs no white space behind it.
pub(super) fn is_wide_stop(char: char) -> bool {
    matches!(char, '。' | '！' | '？')
}

/// Digits may follow `Fig.`, `no.` and many more than a list can hold; few sentences begin with one.
fn begins(next: char) -> bool {
    !next.is_lowercase() && !next.is_ascii_digit() && !matches!(next, ',' | ';' | ':' | ')' | ']')
}

/// Whether the text before a dot is an abbreviation or an initial.
fn abbreviates(text: &str) -> bool {
    let start = text.char_indices().rev().take(LONGEST + 1).last().map_or(0, |(at, _)| at);
    let word = text[start..].rsplit(|char: char| !char.is_alphanumeric() && char != '.').next().unwrap_or_default();
    let mut letters = word.chars();
    match (letters.next(), letters.next()) {
        (Some(initial), None) if initial.is_uppercase() => true,
        (Some(_), _) => ABBREVIATIONS.binary_search(&&*word.to_lowercase()).is_ok(),
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_abbreviations_are_sorted() {
        assert!(ABBREVIATIONS.is_sorted());
        assert!(ABBREVIATIONS.iter().all(|word| word.len() <= LONGEST));
    }

    #[test]
    fn sentences_end_where_readers_see_it() {
        for (before, after) in [
            ("done.", 'T'),
            ("Really?", 'N'),
            ("he said.”", 'T'),
            ("(see above.)", 'A'),
            ("x = 2.", 'W'),
            ("終わり。", '次'),
        ] {
            assert!(ends(before, Some(after)), "{before} {after}");
        }
        for (before, after) in [
            ("et al.", 'W'),
            ("Fig.", '3'),
            ("dott.", 'R'),
            ("Dott.", 'R'),
            ("J.", 'D'),
            ("e.g.", 'T'),
            ("(cfr.", 'A'),
            ("approx.", '3'),
            ("1.", '5'),
            ("a word", 'T'),
            ("ecc.", 'n'),
            ("wait...", 'a'),
            ("e.g.)", 'T'),
        ] {
            assert!(!ends(before, Some(after)), "{before} {after}");
        }
        assert!(ends("The end.", None));
    }
}

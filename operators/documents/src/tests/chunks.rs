//! Chunks: what holds for any text and any tokenizer, and where some texts are cut.

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::tokenizers::{Failing, Nasty, Spaced, Spending, Unknowns, Wordish};
use crate::plain::document as plain;
use crate::{ChunkError, ChunkOptions, Extracted, Section, Tokens, chunk};

/// All that holds for chunks of whatever text.
pub(super) fn check(document: &Extracted, tokens: &dyn Tokens, options: &ChunkOptions) -> Vec<crate::Parent> {
    let text = document.text.as_str();
    let parents = chunk(document, tokens, options).expect("chunks");
    let count = |span: &Range<usize>| tokens.spans(&text[span.clone()]).expect("tokens").len();
    let joined: String = parents.iter().map(|parent| &text[parent.span.clone()]).collect();
    assert_eq!(joined, text);
    let room = options.child_tokens.min(tokens.limit()) - tokens.overhead();
    for parent in &parents {
        assert!(!parent.span.is_empty());
        assert!(count(&parent.span) <= options.parent_tokens);
        if parent.children.is_empty() {
            assert_eq!(text[parent.span.clone()].trim(), "");
            continue;
        }
        let (first, last) = (&parent.children[0].span, &parent.children[parent.children.len() - 1].span);
        assert_eq!((first.start, last.end), (parent.span.start, parent.span.end));
        for child in &parent.children {
            assert!(!child.span.is_empty() && count(&child.span) <= room, "{child:?}");
        }
        for pair in parent.children.windows(2) {
            let (before, after) = (&pair[0].span, &pair[1].span);
            assert!(before.start < after.start && after.start <= before.end && before.end < after.end, "{pair:?}");
            let spans = tokens.spans(&text[before.clone()]).expect("tokens");
            let repeated = spans.iter().filter(|span| before.start + span.start >= after.start).count();
            assert!(repeated <= options.child_overlap, "{repeated} repeated in {pair:?}");
        }
    }
    parents
}

fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zàèéìòù]{1,9}",
        "[A-Z][a-z]{0,7}",
        Just(". ".to_owned()),
        Just(" ".to_owned()),
        Just("\n\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\r\n\r\n".to_owned()),
        Just(" et al. ".to_owned()),
        Just("dott. Rossi ha detto: «Sì!» ".to_owned()),
        Just("Fig. 3.14 shows $E = mc^2$ (eq. 5). ".to_owned()),
        Just("| 1 | 2.5e-3 | ± 0.1 |\n".to_owned()),
        Just("👩‍👩‍👧‍👦🇮🇹e\u{301}".to_owned()),
        Just("第一章。はじめに！".to_owned()),
        Just("   \t \u{a0}\n \n  ".to_owned()),
        "[a-z]{50,400}",
        "\\PC{0,12}",
    ];
    proptest::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

fn documents() -> impl Strategy<Value = Extracted> {
    (texts(), proptest::collection::vec((any::<proptest::sample::Index>(), any::<bool>()), 0..8)).prop_map(
        |(text, cuts)| {
            let mut document = plain(text, "UTF-8");
            let at = |index: proptest::sample::Index| {
                document.text.floor_char_boundary(index.index(document.text.len() + 1))
            };
            let section = |(index, is_page): (proptest::sample::Index, bool)| {
                let start = at(index);
                match is_page {
                    true => {
                        Section { start, heading: None, level: 0, page: Some(u32::try_from(start).expect("small")) }
                    }
                    false => Section { start, heading: Some(format!("h{start}")), level: 1, page: None },
                }
            };
            let mut sections: Vec<_> = cuts.into_iter().map(section).collect();
            sections.sort_by_key(|section| section.start);
            document.sections = sections;
            document
        },
    )
}

fn options() -> impl Strategy<Value = ChunkOptions> {
    (20_usize..80, 0_usize..10, 0_usize..200).prop_map(|(child_tokens, child_overlap, more)| ChunkOptions {
        child_tokens,
        child_overlap,
        parent_tokens: child_tokens + more,
    })
}

/// The same cases each time; others where LUNAPARK_FUZZ_CASES asks for so many.
fn config() -> ProptestConfig {
    let more = std::env::var_os("LUNAPARK_FUZZ_CASES").is_some();
    let rng_seed = if more { RngSeed::Random } else { RngSeed::Fixed(1) };
    let cases = u32::try_from(super::fuzz::cases(400, 20_000)).expect("fewer cases");
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn chunks_tile_the_text_within_their_sizes(document in documents(), options in options()) {
        check(&document, &Wordish, &options);
        check(&document, &Nasty, &options);
        check(&document, &Unknowns, &options);
    }
}

#[test]
fn a_heading_begins_a_parent_and_names_it() {
    let (first, second) = ("Some words of a sentence. ".repeat(50), "Altre parole in fila. ".repeat(50));
    let mut document = plain(format!("{first}\n\nSecond\n\n{second}"), "UTF-8");
    let at = first.len() + 2;
    document.sections = vec![
        Section { start: 0, heading: Some("First".to_owned()), level: 1, page: Some(1) },
        Section { start: at, heading: Some("Second".to_owned()), level: 1, page: None },
        Section { start: at + 100, heading: None, level: 0, page: Some(2) },
    ];
    let parents = check(&document, &Wordish, &ChunkOptions::default());
    let found: Vec<_> =
        parents.iter().map(|parent| (parent.span.start, parent.heading.as_deref(), parent.page)).collect();
    assert_eq!(found, [(0, Some("First"), Some(1)), (at, Some("Second"), Some(1))]);
    assert_eq!(parents[1].children.iter().map(|child| child.page).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert_eq!(document.place(at + 100).heading, Some("Second"));
    assert_eq!(document.place(at + 100).page, Some(2));
}

#[test]
fn children_are_whole_sentences_where_they_fit() {
    let sentence = "As Rossi et al. show in Fig. 3, the mass is 125.3 GeV, e.g. for dott. Bianchi. ";
    let document = plain(sentence.repeat(12), "UTF-8");
    let options = ChunkOptions { child_tokens: 100, child_overlap: 40, parent_tokens: 300 };
    for parent in check(&document, &Wordish, &options) {
        for child in parent.children {
            assert_eq!(child.span.start % sentence.len(), 0, "{child:?}");
            assert_eq!(child.span.end % sentence.len(), 0, "{child:?}");
        }
    }
}

#[test]
fn tokens_that_begin_with_their_space_fill_a_child_as_well() {
    let document = plain("word ".repeat(1000), "UTF-8");
    let options = ChunkOptions { child_tokens: 22, child_overlap: 0, parent_tokens: 200 };
    for parent in check(&document, &Spaced, &options) {
        assert_eq!(parent.span.len(), 200 * 5);
        assert!(parent.children.iter().all(|child| child.span.len() == 20 * 5), "{parent:?}");
    }
}

#[test]
fn a_megabyte_without_a_space_is_cut_into_readable_pieces() {
    for word in ["x", "é", "👍"] {
        let document = plain(word.repeat((1 << 20) / word.len()), "UTF-8");
        let parents = check(&document, &Unknowns, &ChunkOptions { child_tokens: 256, ..ChunkOptions::default() });
        assert!(parents.len() > 16, "{}", parents.len());
        check(&document, &Wordish, &ChunkOptions::default());
    }
}

#[test]
fn white_space_alone_makes_no_child() {
    for text in ["", " ", "\r\n\r\n\t", &" ".repeat(1 << 20)] {
        let parents = check(&plain(text.to_owned(), "UTF-8"), &Wordish, &ChunkOptions::default());
        assert!(parents.iter().all(|parent| parent.children.is_empty()));
    }
}

#[test]
fn sizes_that_make_no_sense_are_refused_by_name() {
    let right = ChunkOptions::default();
    for (options, field) in [
        (ChunkOptions { child_tokens: 0, ..right }, "child_tokens"),
        (ChunkOptions { child_tokens: 1 << 20, ..right }, "child_tokens"),
        (ChunkOptions { child_overlap: 200, ..right }, "child_overlap"),
        (ChunkOptions { parent_tokens: 100, ..right }, "parent_tokens"),
        (ChunkOptions { parent_tokens: usize::MAX, ..right }, "parent_tokens"),
    ] {
        let refused = options.check().unwrap_err();
        assert!(refused.to_string().starts_with(field), "{refused}");
    }
    right.check().expect("the default");
}

#[test]
fn a_tokenizer_that_fails_or_spends_too_much_is_told() {
    let document = plain("words".to_owned(), "UTF-8");
    let failed = |tokens: &dyn Tokens| chunk(&document, tokens, &ChunkOptions::default()).unwrap_err();
    assert_eq!(failed(&Failing), ChunkError::Tokenizer { at: 0, what: "no vocabulary".to_owned() });
    assert_eq!(failed(&Spending), ChunkError::TooSmall { at: 0, tokens: 600, room: 500 });
}

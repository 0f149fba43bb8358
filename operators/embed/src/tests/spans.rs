//! Spans of tokens lie in order, inside the text, between characters.

use proptest::prelude::*;

use super::*;
use crate::{Role, TextTokenizer};

fn check(name: &str, tokenizer: &TextTokenizer, text: &str) {
    let spans = tokenizer.spans(text).unwrap();
    let (mut start, mut end) = (0, 0);
    for span in &spans {
        assert!(span.start >= start && span.end >= end && span.start <= span.end, "{name}: {spans:?} of {text:?}");
        assert!(text.get(span.clone()).is_some(), "{name}: {span:?} of {text:?}");
        (start, end) = (span.start, span.end);
    }
    for role in [Role::Query, Role::Passage] {
        let count = tokenizer.count(text, role).unwrap();
        assert!(count <= spans.len() + tokenizer.overhead(role), "{name}: {count} tokens of {text:?}");
    }
}

#[test]
fn spans_are_the_words_pieces() {
    let encoder = model("bert");
    let text = "Heat transfer, perché";
    let pieces: String = encoder.tokenizer().spans(text).unwrap().into_iter().map(|span| &text[span]).collect();
    assert_eq!(pieces, "Heattransfer,perché");
    assert!(encoder.tokenizer().spans("").unwrap().is_empty());
}

#[test]
fn odd_texts_have_orderly_spans() {
    for name in MODELS {
        let encoder = model(name);
        for text in [
            "",
            " ",
            "e\u{301}\u{301}\u{301}",
            "ﬁne ½ ㎏",
            "🇮🇹👩‍🔬",
            "\u{0}\u{feff}a",
            "漢字",
            "[SEP]<s>",
            &"x".repeat(5000),
        ] {
            check(name, encoder.tokenizer(), text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_orderly_spans(text in "(\\PC|[a-zA-Zàèé]{1,9}|[ .,\\n]|[\u{300}-\u{30f}]|<s>){0,40}") {
        for (name, encoder) in MODELS.iter().zip(encoders()) {
            check(name, encoder.tokenizer(), &text);
        }
    }
}

/// Loaded once for all cases.
fn encoders() -> &'static [Encoder] {
    static ENCODERS: std::sync::LazyLock<Vec<Encoder>> = std::sync::LazyLock::new(|| MODELS.map(model).into());
    &ENCODERS
}

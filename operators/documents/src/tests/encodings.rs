//! Encodings, and which kind a source is.

use super::{NoPdf, extract};
use crate::{ExtractError, Kind, Limits, Source};

const TEXT: &str = "Perché la città è così? Già, l'università più antica.\r\nFine.\n";

fn utf_16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

#[test]
fn each_encoding_gives_the_same_text() {
    let (latin, _, _) = encoding_rs::WINDOWS_1252.encode(TEXT);
    let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
    for (bytes, encoding) in [
        (TEXT.as_bytes().to_vec(), "UTF-8"),
        (marked(b"\xef\xbb\xbf", TEXT.as_bytes()), "UTF-8"),
        (marked(b"\xff\xfe", &utf_16(TEXT, u16::to_le_bytes)), "UTF-16LE"),
        (marked(b"\xfe\xff", &utf_16(TEXT, u16::to_be_bytes)), "UTF-16BE"),
        (utf_16(TEXT, u16::to_le_bytes), "UTF-16LE"),
        (utf_16(TEXT, u16::to_be_bytes), "UTF-16BE"),
        (latin.into_owned(), "windows-1252"),
    ] {
        let extracted = extract(&bytes, "notes.txt").expect(encoding);
        assert_eq!((extracted.text.as_str(), extracted.encoding), (TEXT, encoding));
    }
}

#[test]
fn a_named_charset_goes_before_a_guess() {
    let bytes = b"\xa4 5,00, \xbd";
    let read = |content_type| {
        let source = Source { bytes, content_type: Some(content_type), name: None };
        crate::extract(&source, &Limits::default(), &NoPdf).expect(content_type)
    };
    assert_eq!(read("text/plain; charset=ISO-8859-15").text, "€ 5,00, œ");
    assert_eq!(read("text/plain;charset=\"latin1\"").text, "¤ 5,00, ½");
    assert_eq!(read("text/plain; charset=nonsense").text.chars().count(), 9);
}

#[test]
fn a_text_in_the_wrong_encoding_is_refused() {
    let bytes: Vec<u8> = (0..200).map(|index| if index % 2 == 0 { 0xff } else { b'a' }).collect();
    let source = Source { bytes: &bytes, content_type: Some("text/plain; charset=utf-8"), name: None };
    let refused = crate::extract(&source, &Limits::default(), &NoPdf).unwrap_err();
    assert_eq!(refused.reason(), "encoding");
    assert!(refused.to_string().contains("UTF-8"), "{refused}");
    let bytes = utf_16("UTF-16 under another name", u16::to_le_bytes);
    let source = Source { bytes: &bytes, content_type: Some("text/plain; charset=latin1"), name: None };
    let refused = crate::extract(&source, &Limits::default(), &NoPdf).unwrap_err();
    assert_eq!(refused.reason(), "encoding");
}

#[test]
fn control_characters_are_left_out_and_a_form_feed_ends_a_paragraph() {
    let extracted = extract(b"a\0b\x07c\td\x0ce\x7f\r\n", "x.txt").expect("text");
    assert_eq!(extracted.text, "abc\td\n\ne\r\n");
}

#[test]
fn the_kind_is_told_by_type_then_bytes_then_name() {
    let of = |bytes: &[u8], content_type, name| Kind::of(&Source { bytes, content_type, name });
    assert_eq!(of(b"# A", Some("text/html; charset=utf-8"), Some("a.md")), Ok(Kind::Html));
    assert_eq!(of(b"%PDF-1.7\n", None, Some("a.txt")), Ok(Kind::Pdf));
    assert_eq!(of(b"%PDF-1.7\n", Some("application/octet-stream"), None), Ok(Kind::Pdf));
    assert_eq!(of(b"\n<!-- x --><!DOCTYPE html><p>", None, Some("a.txt")), Ok(Kind::Html));
    assert_eq!(of(b"# A", None, Some("s3://b/c/README.MD?version=2")), Ok(Kind::Markdown));
    assert_eq!(of(b"words", None, None), Ok(Kind::Text));
    for (name, kind) in [
        ("notes#1.md", Kind::Markdown),
        ("file:///notes/what is it?.html", Kind::Html),
        ("a#b?c.MD", Kind::Markdown),
        ("README.md#usage", Kind::Markdown),
        ("table.csv#7", Kind::Text),
    ] {
        assert_eq!(of(b"words", None, Some(name)), Ok(kind), "{name}");
    }
    for (bytes, content_type, what) in [
        (&b"PK\x03\x04...."[..], None, "ZIP"),
        (b"words", Some("image/png"), "image/png"),
        (b"\x01\x02\x03\x00\x00\x10\x11\x13", None, "no text"),
    ] {
        let refused = of(bytes, content_type, None).unwrap_err();
        assert_eq!(refused.reason(), "unsupported");
        assert!(refused.to_string().contains(what), "{refused}");
    }
}

/// Bytes that follow from a seed, each value as often as any other.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn bytes_that_are_no_text_are_refused_whatever_their_name() {
    for (seed, name) in (1..200).zip(["a.md", "a.txt", "a.html", "a.tex"].into_iter().cycle()) {
        let bytes = noise(seed, 200 + 50 * seed as usize);
        let refused = extract(&bytes, name).unwrap_err();
        assert_eq!(refused.reason(), "unsupported", "{seed}");
        assert!(refused.to_string().contains("its bytes are no text"), "{refused}");
        let source = Source { bytes: &bytes, content_type: Some("text/plain"), name: None };
        assert!(Kind::of(&source).is_err(), "{seed}");
    }
}

#[test]
fn texts_in_old_encodings_are_none_of_them() {
    use encoding_rs::{BIG5, EUC_JP, EUC_KR, GB18030, IBM866, ISO_2022_JP, KOI8_R, SHIFT_JIS, WINDOWS_1251};
    let manual = "N\u{8}NA\u{8}AM\u{8}ME\u{8}E ".repeat(200);
    let colours = "\u{1b}[1mred\u{1b}[0m text ".repeat(200);
    let russian =
        "\u{41f}\u{43e}\u{433}\u{440}\u{430}\u{43d}\u{438}\u{447}\u{43d}\u{44b}\u{439} \u{441}\u{43b}\u{43e}\u{439}. "
            .repeat(50);
    let chinese = "\u{8fb9}\u{754c}\u{5c42}\u{7684}\u{8f6c}\u{6362}\u{3002}".repeat(80);
    let japanese = "\u{5883}\u{754c}\u{5c64}\u{306e}\u{9077}\u{79fb}\u{3002}".repeat(80);
    let korean = "\u{acbd}\u{acc4}\u{ce35} \u{c804}\u{c774}. ".repeat(80);
    let mut all =
        vec![manual.into_bytes(), colours.into_bytes(), [b"A page.\x0c".repeat(40), b"End.\x1a".to_vec()].concat()];
    for (encoding, text) in [
        (KOI8_R, &russian),
        (WINDOWS_1251, &russian),
        (IBM866, &russian),
        (GB18030, &chinese),
        (BIG5, &chinese),
        (SHIFT_JIS, &japanese),
        (EUC_JP, &japanese),
        (ISO_2022_JP, &japanese),
        (EUC_KR, &korean),
    ] {
        all.push(encoding.encode(text).0.into_owned());
    }
    for text in [&russian, &chinese] {
        all.push([b"\xff\xfe".to_vec(), utf_16(text, u16::to_le_bytes)].concat());
        all.push([b"\xfe\xff".to_vec(), utf_16(text, u16::to_be_bytes)].concat());
    }
    for bytes in all {
        let source = Source { bytes: &bytes, content_type: None, name: Some("old.txt") };
        assert_eq!(Kind::of(&source), Ok(Kind::Text), "{:?}", &bytes[..20]);
    }
    let unmarked = utf_16(&chinese, u16::to_le_bytes);
    let source = Source { bytes: &unmarked, content_type: Some("text/plain; charset=UTF-16LE"), name: None };
    assert_eq!(crate::extract(&source, &Limits::default(), &NoPdf).unwrap().text, chinese);
}

#[test]
fn what_is_empty_or_too_large_is_refused() {
    assert_eq!(extract(b"", "a.txt"), Err(ExtractError::Empty));
    assert_eq!(extract(b" \r\n\t ", "a.txt"), Err(ExtractError::Empty));
    let source = Source { bytes: &[b'x'; 100], content_type: None, name: None };
    for limits in [Limits { max_bytes: 99, ..Limits::default() }, Limits { max_text_bytes: 99, ..Limits::default() }] {
        let refused = crate::extract(&source, &limits, &NoPdf).unwrap_err();
        assert_eq!(refused.reason(), "too-large");
        assert!(refused.to_string().contains("100") && refused.to_string().contains("99"), "{refused}");
    }
}

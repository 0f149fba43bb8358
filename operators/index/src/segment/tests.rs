use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_buffer::Buffer;

use super::*;
use crate::Metric;
use crate::document::{Action, Change, Child, Document, Parent, Source};
use crate::search::tests::Dice;

const DIMENSION: u32 = 3;

fn some_segment() -> Built {
    built_with(7, None)
}

/// Twenty-four vectors in lists.
fn listed_segment() -> Built {
    built_with(13, Some(Listing { from: 1, metric: Metric::Cosine, threads: 1 }))
}

fn built_with(documents: u32, listing: Option<Listing>) -> Built {
    let mut dice = Dice(1);
    let mut changes = Vec::new();
    for number in 0..documents {
        let text = format!("words of document {number}, and à few more");
        let mut child = |start: u64, end: u64| Child {
            span: 10 + start..10 + end,
            page: (number % 2 == 0).then_some(number),
            vector: (0..DIMENSION).map(|_| dice.number()).collect(),
        };
        let children = vec![child(0, 5), child(3, 12)];
        let span = 10..10 + text.len() as u64;
        let parent = Parent { span, text, heading: "H".into(), page: None, children, marks: Vec::new() };
        let document = Document { id: format!("d{number}"), parents: vec![parent], ..Document::default() };
        let action = if number == 3 { Action::Delete(document.id) } else { Action::Put(document) };
        changes.push(Change { source: Source { partition: 0, offset: number.into() }, action });
    }
    let changes: BTreeMap<&str, &Change> = changes.iter().map(|change| (change.document(), change)).collect();
    build("s".into(), DIMENSION, &changes, listing).unwrap()
}

fn sections(bytes: &[u8], footer: &Footer) -> Result<(), String> {
    let part = |section: Section| {
        let place = &footer.sections[section as usize];
        Buffer::from_vec(bytes[place.offset as usize..][..place.bytes as usize].to_vec())
    };
    footer.table::<Documents>(part(Section::Documents))?.parsed();
    footer.table::<Parents>(part(Section::Parents))?;
    footer.table::<Texts>(part(Section::Texts))?;
    footer.table::<Children>(part(Section::Children))?;
    footer.table::<Vectors>(part(Section::Vectors))?.squares();
    if footer.has_lists() {
        let lists = footer.table::<Lists>(part(Section::Lists))?;
        let codes = footer.table::<ListedCodes>(part(Section::Codes))?;
        let recalls = footer.table::<Recalls>(part(Section::Recalls))?;
        for place in (0..lists.len()).flat_map(|list| lists.range(list)) {
            assert!((codes.children[place] as usize) < footer.rows(Section::Children));
        }
        assert!([0.1, 0.97, 1.0].iter().all(|&recall| recalls.probes(recall).is_none_or(|count| count <= lists.len())));
    }
    let terms = footer.table::<Terms>(part(Section::Terms))?;
    let postings = footer.table::<Postings>(part(Section::Postings))?;
    // What a search does with what was accepted must not panic either.
    for row in 0..footer.rows(Section::Terms) {
        let found = terms.postings_of(terms.term.value(row));
        assert!(found.end <= postings.parent.values().len());
    }
    Ok(())
}

#[test]
fn what_is_written_is_read() {
    let Built { entry, bytes } = some_segment();
    assert_eq!((entry.documents, entry.deletions, entry.parents, entry.children), (6, 1, 6, 12));
    let before = bytes.len() - entry.footer as usize;
    let footer = Footer::decode(&bytes[before..], DIMENSION, before as u64).unwrap();
    sections(&bytes[..before], &footer).unwrap();
    assert!(Footer::decode(&bytes[before..], DIMENSION + 1, before as u64).is_err());
    assert!(Footer::decode(&bytes[before..], DIMENSION, before as u64 - 1).is_err());
}

#[test]
fn lists_are_read_as_they_are_written() {
    let Built { entry, bytes } = listed_segment();
    let before = bytes.len() - entry.footer as usize;
    let footer = Footer::decode(&bytes[before..], DIMENSION, before as u64).unwrap();
    assert!(footer.has_lists() && footer.rows(Section::Codes) == 24);
    sections(&bytes[..before], &footer).unwrap();
    // Some of the three sections alone are none.
    for left in 8..10 {
        let footer = Footer { sections: footer.sections[..left].to_vec(), ..footer.clone() };
        assert!(Footer::decode(&serde_json::to_vec(&footer).unwrap(), DIMENSION, before as u64).is_err());
    }
}

/// A table with other columns than were written, which its digest would not give away.
fn lying(section: Section, change: impl Fn(usize, u32) -> u32) -> Result<(), String> {
    let Built { entry, bytes } = listed_segment();
    let before = bytes.len() - entry.footer as usize;
    let footer = Footer::decode(&bytes[before..], DIMENSION, before as u64).unwrap();
    let place = &footer.sections[section as usize];
    let body = Buffer::from_vec(bytes[place.offset as usize..][..place.bytes as usize].to_vec());
    let schema = tables::schema(section, DIMENSION);
    let batch = ipc::decode(body, &schema, footer.rows(section)).unwrap();
    let numbers = batch.column(0).as_primitive::<UInt32Type>().values();
    let numbers = numbers.iter().enumerate().map(|(row, number)| change(row, *number));
    let mut columns = batch.columns().to_vec();
    columns[0] = Arc::new(UInt32Array::from_iter_values(numbers));
    let mut bytes = Vec::new();
    ipc::encode(&RecordBatch::try_new(schema, columns).unwrap(), &mut bytes).unwrap();
    let bytes = Buffer::from_vec(bytes);
    match section {
        Section::Lists => footer.table::<Lists>(bytes).map(drop),
        Section::Codes => footer.table::<ListedCodes>(bytes).map(drop),
        _ => footer.table::<Recalls>(bytes).map(drop),
    }
}

#[test]
fn lists_that_lie_are_refused() {
    for section in [Section::Lists, Section::Codes, Section::Recalls] {
        lying(section, |_, number| number).unwrap();
        // Beyond all rows and lists; and one number more than once.
        lying(section, |_, number| number + 1000).unwrap_err();
    }
    lying(Section::Codes, |_, _| 3).unwrap_err();
    lying(Section::Lists, |row, number| if row == 0 { u32::MAX } else { number }).unwrap_err();
    lying(Section::Lists, |_, number| number / 2).unwrap_err();
    lying(Section::Recalls, |_, _| 0).unwrap_err();
}

#[test]
fn below_the_digests_flipped_and_cut_bytes_are_errors_or_harmless() {
    for built in [some_segment(), listed_segment()] {
        flipped_bytes_are_errors_or_harmless(&built);
    }
}

fn flipped_bytes_are_errors_or_harmless(Built { entry, bytes }: &Built) {
    let before = bytes.len() - entry.footer as usize;
    let footer = Footer::decode(&bytes[before..], DIMENSION, before as u64).unwrap();
    let mut dice = Dice(11);
    std::panic::set_hook(Box::new(|_| {}));
    let mut refused = 0;
    let cases = if std::env::var_os("LUNAPARK_TEST_LONG").is_some() { 1_000_000 } else { 6000 };
    for case in 0..cases {
        let mut bytes = bytes[..before].to_vec();
        for _ in 0..1 + case % 3 {
            let at = dice.below(before as u32) as usize;
            bytes[at] = match dice.below(3) {
                0 => bytes[at] ^ (1 << dice.below(8)),
                1 => 0xff,
                _ => dice.next() as u8,
            };
        }
        refused += usize::from(sections(&bytes, &footer).is_err());
    }
    let _ = std::panic::take_hook();
    assert!(refused > cases / 12, "{refused} of {cases}");
}

#[test]
fn cut_sections_and_flipped_footers_are_errors_or_harmless() {
    let Built { entry, bytes } = some_segment();
    let before = bytes.len() - entry.footer as usize;
    let footer = Footer::decode(&bytes[before..], DIMENSION, before as u64).unwrap();
    let place = &footer.sections[Section::Children as usize];
    for length in (0..place.bytes).step_by(7) {
        let cut = bytes[place.offset as usize..][..length as usize].to_vec();
        let read = footer.table::<Children>(Buffer::from_vec(cut));
        // The last bytes only say that nothing follows.
        assert!(read.is_err() || length + 16 >= place.bytes, "{length} of {}", place.bytes);
    }
    let mut dice = Dice(12);
    for _ in 0..3000 {
        let mut end = bytes[before..].to_vec();
        let at = dice.below(end.len() as u32) as usize;
        end[at] = b"0123456789\"{}[],:x"[dice.below(18) as usize];
        if let Ok(footer) = Footer::decode(&end, DIMENSION, before as u64) {
            let _ = sections(&bytes[..before], &footer);
        }
    }
}

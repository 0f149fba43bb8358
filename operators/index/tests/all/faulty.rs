//! A store that fails on purpose.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use lunapark_stores::ArtifactStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What happens to the put of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It works.
    None,
    /// It has no effect, and an error is the answer.
    Before,
    /// It takes effect, and an error is the answer.
    After,
    /// It takes effect, and the answer is that it is there already: a retry of the client met its own first try.
    Own,
    /// It takes effect, an error is the answer, and nothing can be read for a moment.
    AfterAndBlind,
    /// It has no effect, an error is the answer, and nothing can be read for a moment.
    BeforeAndBlind,
}

#[derive(Debug, Default)]
pub struct Faulty {
    inner: InMemory,
    faults: Mutex<VecDeque<Fault>>,
    blind: Mutex<u32>,
    /// Overwrites whatever it is asked to create.
    careless: bool,
}

impl Faulty {
    pub fn new(careless: bool) -> Arc<Self> {
        Arc::new(Self { careless, ..Self::default() })
    }

    pub fn open(self: &Arc<Self>) -> Arc<ArtifactStore> {
        Arc::new(ArtifactStore::over(Arc::clone(self) as _, "faulty").unwrap())
    }

    /// What the next puts of manifests meet.
    pub fn plan(&self, faults: &[Fault]) {
        self.faults.lock().unwrap().extend(faults);
    }

    pub fn forget(&self) {
        self.faults.lock().unwrap().clear();
        *self.blind.lock().unwrap() = 0;
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty")
    }
}

fn broken<T>() -> Result<T> {
    Err(object_store::Error::Generic { store: "faulty", source: "connection reset by peer".into() })
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut opts: PutOptions) -> Result<PutResult> {
        if opts.mode != PutMode::Create || self.careless {
            opts.mode = PutMode::Overwrite;
            return self.inner.put_opts(location, payload, opts).await;
        }
        let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        let put = match fault {
            Fault::Before | Fault::BeforeAndBlind => broken(),
            _ => self.inner.put_opts(location, payload, opts).await,
        };
        *self.blind.lock().unwrap() += u32::from(matches!(fault, Fault::AfterAndBlind | Fault::BeforeAndBlind));
        match fault {
            Fault::After | Fault::AfterAndBlind => broken(),
            Fault::Own => Err(object_store::Error::AlreadyExists { path: location.to_string(), source: "409".into() }),
            _ => put,
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let blind = {
            let mut blind = self.blind.lock().unwrap();
            let was = *blind > 0;
            *blind = blind.saturating_sub(1);
            was
        };
        if blind { broken() } else { self.inner.get_opts(location, options).await }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

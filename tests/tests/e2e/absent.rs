//! What ARCHITECTURE.md says is absent is absent: a search through the sources.

use std::path::{Path, PathBuf};

/// Source files of the folders, by their path from the repository's root; tests and generated files left out.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let mut files = Vec::new();
    let mut todo: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let name = entry.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            match entry.is_dir() {
                true => todo.push(entry),
                false if name.ends_with(".rs") && !name.contains("/tests") => {
                    files.push((name, std::fs::read_to_string(entry).expect("UTF-8")));
                }
                false => {}
            }
        }
    }
    assert!(files.len() > 5, "too few sources in {folders:?}");
    files
}

/// Lines of code, without comments and without the tests at the end of a file.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// No line of code in these folders contains the text, but for files that `may` names.
#[track_caller]
fn assert_absent(folders: &[&str], text: &str, may: &[&str]) {
    let mut used = 0;
    for (name, source) in sources(folders) {
        let found: Vec<_> = code(&source).filter(|line| line.contains(text)).collect();
        let allowed = may.iter().any(|allowed| name.starts_with(allowed));
        used += usize::from(allowed && !found.is_empty());
        assert!(found.is_empty() || allowed, "`{text}` in {name}: {found:#?}");
    }
    assert!(may.is_empty() || used > 0, "`{text}` is nowhere in {may:?}: the search has lost its object");
}

const ALL: [&str; 4] = ["schemas", "topics", "operators", "pipelines"];

#[test]
fn only_topics_knows_kafka() {
    assert_absent(&ALL, "rdkafka::", &["topics/src/kafka/"]);
    assert_absent(&ALL, "redb::", &["topics/src/embedded/"]);
}

#[test]
fn only_the_owners_of_devices_know_candle() {
    assert_absent(
        &ALL,
        "candle_core",
        &["operators/embed/src/device/", "operators/models/src/device/", "operators/train/src/device/"],
    );
}

#[test]
fn only_the_runner_commits() {
    // A redrive is a transaction without a group: it moves no offset.
    assert_absent(&["pipelines"], ".commit_while(", &["pipelines/src/runner/"]);
    assert_absent(&["pipelines"], ".commit(&", &[]);
    assert_absent(&["pipelines"], ".stream(", &["pipelines/src/runner/"]);
}

#[test]
fn operators_know_no_topics() {
    for text in ["inference.events", "inference.results", "lunapark_topics"] {
        assert_absent(&["operators"], text, &[]);
    }
}

#[test]
fn topic_names_stand_in_the_catalog_alone() {
    // The published AsyncAPI document names them, too.
    assert_absent(&ALL, "\"inference.events\"", &["topics/src/catalog.rs", "schemas/src/publish.rs"]);
    assert_absent(&ALL, "\"inference.results\"", &["topics/src/catalog.rs", "schemas/src/publish.rs"]);
}

#[test]
fn unsafe_code_is_in_the_kernels_and_at_the_doors_of_c_libraries_alone() {
    let allowed = [
        "operators/documents/src/pdf/pdfium.rs",
        "operators/embed/src/kernel/avx",
        "operators/embed/src/kernel/neon.rs",
        "operators/embed/src/kernel/tiles/amx.rs",
        "operators/embed/src/kernel/tiles/trap.rs",
        "operators/index/src/search/kernel_",
        "operators/models/src/lanes/kernel_",
        "operators/models/src/mlp/kernel_",
        "operators/models/src/trees/kernel_",
        "operators/train/src/kernel/vector.rs",
        "pipelines/src/allocator.rs",
        "topics/src/kafka/native.rs",
        "benches/src/duel/peak.rs",
    ];
    for text in ["unsafe {", "unsafe fn", "unsafe impl"] {
        assert_absent(&ALL, text, &allowed);
    }
}

#[test]
fn models_and_logs_never_run_on_an_async_worker() {
    // The HTTP endpoints, the signals and the S3 client are all that is async.
    assert_absent(&ALL, "tokio::", &["pipelines/src/http.rs", "pipelines/src/cli/run.rs", "operators/stores/src/"]);
}

#[test]
fn no_queue_is_without_a_bound() {
    for text in ["mpsc::channel()", "unbounded()", "unbounded_channel"] {
        assert_absent(&ALL, text, &[]);
    }
}

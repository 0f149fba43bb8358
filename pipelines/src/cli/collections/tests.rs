use lunapark_index::{Bm25, Chunking, Metric, Writer};
use lunapark_knowledge::PASSAGE_RULE;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// A store in a folder, with collections in which there is nothing.
fn store(names: &[&str]) -> (TempDir, Arc<ArtifactStore>) {
    made_by(PASSAGE_RULE, names)
}

fn made_by(passage_rule: u32, names: &[&str]) -> (TempDir, Arc<ArtifactStore>) {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(ArtifactStore::open(folder.path().to_str().unwrap(), &Default::default()).unwrap());
    let settings = Settings {
        model: "a-model".into(),
        model_digest: "9f2c".into(),
        dimension: 4,
        precision: "f32".into(),
        chunking: Chunking { child_tokens: 256, child_overlap: 32, parent_tokens: 500 },
        metric: Metric::InnerProduct,
        bm25: Bm25::default(),
        passage_rule,
    };
    names.iter().for_each(|name| drop(Writer::open(store.clone(), name, &settings, "one").unwrap()));
    (folder, store)
}

fn printed(json: bool, command: impl FnOnce(&mut Output<'_>) -> anyhow::Result<ExitCode>) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    command(&mut Output::new(&mut bytes, json))?;
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn a_collection_is_dropped_once_and_nothing_of_it_stays() {
    let (folder, store) = store(&["papers", "notes"]);
    let args = |name: &str| Drop { name: name.to_owned(), yes: true };
    let removed = printed(true, |out| remove(&store, &args("papers"), out)).unwrap();
    let removed: Value = serde_json::from_str(&removed).unwrap();
    assert_eq!((&removed["name"], &removed["removed"]["versions"]), (&"papers".into(), &1.into()), "{removed}");
    assert!(!folder.path().join("collections/papers").exists());
    for yes in [true, false] {
        let again = remove(&store, &Drop { yes, ..args("papers") }, &mut Output::new(Vec::new(), false)).unwrap_err();
        let text = with_names(&store, again).to_string();
        assert_eq!(text, "there is no collection `papers`. There is notes");
    }
    let slip = remove(&store, &args("note"), &mut Output::new(Vec::new(), false)).unwrap_err();
    let text = with_names(&store, slip).to_string();
    assert_eq!(text, "there is no collection `note`; did you mean `notes`? There is notes");
    let removed = printed(false, |out| remove(&store, &args("notes"), out)).unwrap();
    assert_eq!(removed, "collection notes removed: 1 version, 0 segments (0 B)\n");
    let gone = remove(&store, &args("notes"), &mut Output::new(Vec::new(), false)).unwrap_err();
    assert!(with_names(&store, gone).to_string().contains("and no other one"));
    assert!(exists(&store, "notes").is_ok_and(|exists| !exists));
}

#[test]
fn a_damaged_collection_hides_no_other() {
    let (folder, store) = store(&["notes", "papers"]);
    let manifests = folder.path().join("collections/notes/manifests");
    for manifest in manifests.read_dir().unwrap() {
        std::fs::write(manifest.unwrap().path(), "xx").unwrap();
    }
    let listed = |json| {
        let mut bytes = Vec::new();
        let code = overview::all(&store, &mut Output::new(&mut bytes, json), json).unwrap();
        (String::from_utf8(bytes).unwrap(), code)
    };
    let (text, code) = listed(false);
    assert!(text.contains("papers") && text.contains("notes is damaged: "), "{text}");
    let all: Value = serde_json::from_str(&listed(true).0).unwrap();
    assert_eq!((&all[0]["name"], &all[1]["name"], code), (&"notes".into(), &"papers".into(), ExitCode::FAILURE));
    assert!(all[0]["error"].is_string() && all[1]["error"].is_null(), "{all:#}");
}

#[test]
fn what_an_older_rule_made_is_told_with_the_command_that_mends_it() {
    type Told = fn(&Arc<ArtifactStore>, &mut Output<'_>) -> anyhow::Result<()>;
    let commands: [Told; 3] = [
        |store, out| overview::all(store, out, false).map(drop),
        |store, out| show(store, "papers", out, false).map(drop),
        |store, out| tell_checked("papers", &Checked::of(store, "papers")?, out),
    ];
    for (rule, times) in [(PASSAGE_RULE - 1, 1), (PASSAGE_RULE, 0)] {
        let (_folder, store) = made_by(rule, &["papers"]);
        for command in commands {
            let text = printed(false, |out| command(&store, out).map(|()| ExitCode::SUCCESS)).unwrap();
            assert_eq!(text.matches("papers: some passages were embedded by an older rule").count(), times, "{text}");
            assert_eq!(text.matches("`lunapark collections reindex papers`").count(), times, "{text}");
        }
        let shown = printed(true, |out| show(&store, "papers", out, true)).unwrap();
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["older"].is_string(), times == 1, "{shown}");
    }
}

#[test]
fn both_overviews_count_under_the_same_names() {
    let (_folder, store) = store(&["papers"]);
    let listed = printed(false, |out| overview::all(&store, out, false)).unwrap();
    let shown = printed(false, |out| show(&store, "papers", out, false)).unwrap();
    for (title, _) in COUNTED {
        assert!(listed.lines().next().unwrap().contains(title), "{listed}");
        assert!(shown.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == [title, "0"]), "{shown}");
    }
    assert!(!listed.contains("hidden: ") && !shown.contains("hidden: "), "nothing is hidden");
    let hidden = Counts { hidden: 2, ..Counts::default() };
    let told = printed(false, |out| explain_hidden([&hidden], out).map(|()| ExitCode::SUCCESS)).unwrap();
    assert!(told.contains("hidden: documents that were replaced"), "{told}");
}

#[test]
fn of_a_damaged_collection_nobody_says_that_it_is_empty() {
    let problems = vec!["collections/papers/segments/1.segment: it is gone".to_owned()];
    let damaged = Verified { version: Some(3), counts: None, problems };
    assert_eq!(verdict("papers", &damaged), "collection papers, version 3, is damaged: how much is in it is not known");
    assert_eq!(serde_json::to_value(&damaged).unwrap()["counts"], Value::Null);
    let counts = Some(Counts { documents: 2, segments: 1, ..Counts::default() });
    let sound = Verified { version: Some(3), counts, problems: vec![] };
    assert_eq!(verdict("papers", &sound), "collection papers, version 3, is sound: 2 documents in 1 segment (0 B)");
}

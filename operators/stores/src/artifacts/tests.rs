use super::*;

fn folder() -> (tempfile::TempDir, ArtifactStore) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/store", dir.path().display());
    let store = ArtifactStore::open(&url, &S3Options::default()).unwrap();
    (dir, store)
}

#[test]
fn artifacts_are_put_once_listed_compared_and_deleted() {
    let (_dir, store) = folder();
    let first = store.put(b"a model").unwrap();
    assert_eq!(store.put(b"a model").unwrap(), first);
    let other = store.put(b"another").unwrap();
    assert_eq!(first.digest, digest_of(b"a model"));
    assert_eq!(store.get(&first.digest).unwrap(), b"a model");
    let read = crate::read(&Address::parse(&first.address, std::path::Path::new("")).unwrap(), &S3Options::default());
    assert_eq!(read.unwrap(), b"a model");
    let mut names: Vec<_> = store.list().unwrap().into_iter().map(|found| (found.name, found.bytes)).collect();
    names.sort();
    let mut expected = vec![(first.digest.clone(), 7), (other.digest.clone(), 7)];
    expected.sort();
    assert_eq!(names, expected);
    store.delete(&first.digest).unwrap();
    store.delete(&first.digest).unwrap();
    let gone = store.get(&first.digest).unwrap_err().to_string();
    assert!(gone.contains(&first.address) && gone.contains("no such artifact"), "{gone}");
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn bytes_that_changed_under_a_digest_are_refused_and_cut_ones_written_anew() {
    let (_dir, store) = folder();
    let stored = store.put(b"a model").unwrap();
    let file = stored.address.strip_prefix("file://").unwrap();
    std::fs::write(file, b"b model").unwrap();
    let error = store.get(&stored.digest).unwrap_err();
    assert!(matches!(&error, StoreError::Changed { found, .. } if *found == digest_of(b"b model")), "{error}");
    std::fs::write(file, b"").unwrap();
    store.put(b"a model").unwrap();
    assert_eq!(store.get(&stored.digest).unwrap(), b"a model");
}

#[test]
fn named_objects_are_replaced_listed_and_removed() {
    let (_dir, store) = folder();
    let name = "checkpoints/training.requests/0/17/latest";
    assert_eq!(store.get_named(name).unwrap(), None);
    store.put_named(name, b"one").unwrap();
    store.put_named(name, b"two").unwrap();
    store.put_named("checkpoints/other", b"three").unwrap();
    assert_eq!(store.get_named(name).unwrap().as_deref(), Some(&b"two"[..]));
    let listed = store.list_named("checkpoints/training.requests").unwrap();
    assert_eq!(listed.iter().map(|found| (found.name.as_str(), found.bytes)).collect::<Vec<_>>(), [(name, 3)]);
    store.delete_named(name).unwrap();
    store.delete_named(name).unwrap();
    assert_eq!(store.get_named(name).unwrap(), None);
    assert_eq!(store.list_named("checkpoints").unwrap().len(), 1);
}

#[test]
fn no_name_leads_out_of_the_store() {
    let (dir, store) = folder();
    for name in ["../outside", "checkpoints/../../outside", "/../outside"] {
        store.put_named(name, b"x").unwrap();
        assert_eq!(store.get_named(name).unwrap().as_deref(), Some(&b"x"[..]), "{name}");
    }
    let beside: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["store"]);
    assert!(store.get("../../etc/passwd").is_err());
}

#[test]
fn what_is_no_address_is_refused() {
    for bad in ["", "s3://", "ftp://host/x", "file://relative"] {
        assert!(matches!(ArtifactStore::open(bad, &S3Options::default()), Err(StoreError::NotAnAddress(_))), "{bad}");
    }
}

#[test]
fn an_object_is_created_once_read_by_ranges_and_listed_from_a_name_on() {
    let (_dir, folder) = folder();
    let memory = ArtifactStore::over(Arc::new(object_store::memory::InMemory::new()), "memory").unwrap();
    for store in [folder, memory] {
        assert_eq!(store.create_named("log/c/0001", b"first").unwrap(), Creation::Created);
        assert_eq!(store.create_named("log/c/0001", b"other").unwrap(), Creation::Exists);
        assert_eq!(store.create_named("log/c/0002", b"").unwrap(), Creation::Created);
        assert_eq!(store.get_named("log/c/0001").unwrap().as_deref(), Some(&b"first"[..]));
        assert_eq!(store.get_range_named("log/c/0001", 1..3).unwrap().as_deref(), Some(&b"ir"[..]));
        assert_eq!(store.get_range_named("log/c/0003", 1..3).unwrap(), None);
        let too_large = store.get_named_within("log/c/0001", 4).unwrap_err();
        assert!(matches!(too_large, StoreError::TooLarge { bytes: 5, .. }), "{too_large}");
        let after: Vec<_> = store.list_named_after("log/c", "log/c/0001").unwrap();
        assert_eq!(after.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["log/c/0002"]);
        assert_eq!(store.list_named("log").unwrap().len(), 2, "no draft is left");
        assert_eq!(store.folders_named("log").unwrap(), ["c"]);
    }
}

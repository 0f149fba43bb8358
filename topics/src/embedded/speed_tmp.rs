use super::*;
use crate::log::*;
use lunapark_schemas::*;
use std::time::*;

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let parts: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (parts[11].parse::<f64>().unwrap() + parts[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
#[ignore]
fn speed() {
    let dir = tempfile::Builder::new().prefix("speed").tempdir_in("/work/scratch").unwrap();
    let sync = if std::env::var("SPEED_OS").is_ok() { Sync::Os } else { Sync::Disk };
    let log = EmbeddedLog::open(dir.path(), &EmbeddedOptions { sync, ..Default::default() }).unwrap();
    let parts = 6;
    for t in ["in", "out"] {
        log.create_topic(&TopicSpec { retention: None, ..TopicSpec::new(t, parts) }).unwrap();
    }
    let n = 1_000_000usize;
    let value = vec![b'x'; 200];
    let mut headers = HeadersBuf::new();
    headers.push_str("lunapark-model", "higgs/3#9f2c41d8").push_str("lunapark-source", "inference.events/2/48113");
    let (t, c) = (Instant::now(), cpu());
    {
        let mut w = log.writer().unwrap();
        for i in 0..n {
            let key = (i as u64).to_le_bytes();
            w.produce(&Record { topic: "in", partition: None, key: Some(&key), value: Some(&value), headers: Headers::default(), timestamp: None }).unwrap();
        }
        w.flush(Duration::from_secs(100)).unwrap();
    }
    eprintln!("writer: {:.0}/s cpu {:.2}s", n as f64 / t.elapsed().as_secs_f64(), cpu() - c);
    for (threads, round) in [(1, "a"), (1, "b"), (2, "c")] {
        let (t, c) = (Instant::now(), cpu());
        let handles: Vec<_> = (0..threads).map(|th| {
            let log = log.clone();
            let headers = headers.clone();
            std::thread::spawn(move || {
                let spec = StreamSpec { group: format!("g{round}"), member: format!("m{round}{th}"), topics: vec!["in".into()], outputs: vec!["out".into()], delivery: Delivery::ExactlyOnce, start: Start::Earliest };
                let mut s = log.stream(&spec).unwrap();
                let value = [b'y'; 200];
                let mut m = Messages::new();
                let mut next: std::collections::HashMap<i32, i64> = Default::default();
                let (mut total, mut commits, mut in_commit, mut worst) = (0, 0, Duration::ZERO, Duration::ZERO);
                let mut last = Instant::now();
                let mut idle = None;
                loop {
                    m.clear();
                    match s.poll(&mut m, Limit { messages: 1000, bytes: 1 << 20 }, Duration::from_millis(5)).unwrap() {
                        Polled::Messages(0) => { if idle.get_or_insert(Instant::now()).elapsed() > Duration::from_millis(200) { break; } }
                        Polled::Messages(_) => idle = None,
                        Polled::Revoked(p) => { let pos: Vec<_> = next.iter().map(|(p, o)| Position { topic: "in".into(), partition: *p, offset: *o }).collect(); s.commit(&pos).unwrap(); next.clear(); s.release(&p).unwrap(); }
                        _ => {}
                    }
                    for msg in m.iter() {
                        next.insert(msg.partition, msg.offset + 1);
                        s.produce(&Record { topic: "out", partition: Some(msg.partition), key: msg.key, value: Some(&value), headers: headers.view(), timestamp: Some(msg.timestamp) }, None).unwrap();
                        total += 1;
                    }
                    if last.elapsed() > Duration::from_millis(50) && !next.is_empty() {
                        let at = Instant::now();
                        let pos: Vec<_> = next.iter().map(|(p, o)| Position { topic: "in".into(), partition: *p, offset: *o }).collect();
                        s.commit(&pos).unwrap();
                        next.clear();
                        let took = at.elapsed();
                        in_commit += took; worst = worst.max(took);
                        commits += 1;
                        last = Instant::now();
                    }
                }
                (total, commits, in_commit, worst)
            })
        }).collect();
        let sums: Vec<_> = handles.into_iter().map(|h| h.join().unwrap()).collect();
        let total: usize = sums.iter().map(|s| s.0).sum();
        let secs = t.elapsed().as_secs_f64() - 0.2;
        eprintln!("{threads} stream(s): {total} at {:.0}/s cpu {:.2}s commits {:?}", total as f64 / secs, cpu() - c, sums);
    }
    eprintln!("file {} MB", std::fs::metadata(dir.path().join("log.redb")).unwrap().len() >> 20);
    drop(log);
    let t = Instant::now();
    let log = EmbeddedLog::open(dir.path(), &EmbeddedOptions::default()).unwrap();
    eprintln!("reopen clean: {:?}", t.elapsed());
    // a kill: copy the file while open
    let copy = tempfile::Builder::new().prefix("speed").tempdir_in("/work/scratch").unwrap();
    let mut w = log.transaction("x").unwrap();
    w.commit().unwrap();
    std::fs::copy(dir.path().join("log.redb"), copy.path().join("log.redb")).unwrap();
    let t = Instant::now();
    let log2 = EmbeddedLog::open(copy.path(), &EmbeddedOptions::default()).unwrap();
    eprintln!("reopen after kill: {:?}", t.elapsed());
    drop(log2);
    let t = Instant::now();
    log.delete_topic("out").unwrap();
    log.delete_topic("in").unwrap();
    log.maintain_now().unwrap();
    eprintln!("delete + shrink: {:?} file {} MB", t.elapsed(), std::fs::metadata(dir.path().join("log.redb")).unwrap().len() >> 20);
}

//! A store that takes everything and hangs where it is asked for a list, as one does when it is overloaded.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use super::*;

/// An S3 server in memory, as much of it as a job needs.
struct Bucket {
    endpoint: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    objects: Mutex<HashMap<String, Vec<u8>>>,
    lists: AtomicUsize,
    /// Whether lists are answered.
    answers: AtomicBool,
}

struct Asked {
    method: String,
    path: String,
    query: String,
    body: Vec<u8>,
}

impl Asked {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut head = BufReader::new(stream);
        let mut line = String::new();
        head.read_line(&mut line).ok()?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut bytes = 0;
        loop {
            let mut line = String::new();
            if head.read_line(&mut line).ok()? <= 2 {
                break;
            }
            let line = line.to_ascii_lowercase();
            bytes = line.strip_prefix("content-length:").map_or(bytes, |text| text.trim().parse().unwrap_or(0));
        }
        let mut body = vec![0; bytes];
        head.read_exact(&mut body).ok()?;
        Some(Self { method, path: path.to_owned(), query: query.to_owned(), body })
    }
}

impl State {
    fn answer(&self, asked: Asked) -> (u16, Vec<u8>) {
        if asked.query.contains("list-type") {
            self.lists.fetch_add(1, Ordering::AcqRel);
            while !self.answers.load(Ordering::Acquire) {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            return (200, self.listed(&asked.path).into_bytes());
        }
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.method.as_str() {
            "PUT" => {
                objects.insert(asked.path, asked.body);
                (200, Vec::new())
            }
            // Several at once, by their keys.
            "POST" if asked.query.contains("delete") => {
                let (body, bucket) = (String::from_utf8_lossy(&asked.body), asked.path.trim_end_matches('/'));
                let mut done = String::new();
                for key in body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
                    objects.remove(&format!("{bucket}/{key}"));
                    done += &format!("<Deleted><Key>{key}</Key></Deleted>");
                }
                (200, format!("<DeleteResult>{done}</DeleteResult>").into_bytes())
            }
            "DELETE" => {
                objects.remove(&asked.path);
                (204, Vec::new())
            }
            _ => objects.get(&asked.path).map_or((404, Vec::new()), |bytes| (200, bytes.clone())),
        }
    }

    fn listed(&self, bucket: &str) -> String {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = objects.keys().filter_map(|path| path.strip_prefix(&format!("{}/", bucket.trim_end_matches('/'))));
        let object = |key: &str| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"1\"</ETag>\
                 <Size>1</Size></Contents>"
            )
        };
        let all: String = keys.filter(|key| key.starts_with("checkpoints/")).map(object).collect();
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{all}</ListBucketResult>")
    }
}

impl Bucket {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (endpoint, state) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                std::thread::spawn(move || {
                    let Some(asked) = Asked::read(&stream) else { return };
                    let head = asked.method == "HEAD";
                    let (status, body) = state.answer(asked);
                    let _ = write!(
                        stream,
                        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                         ETag: \"1\"\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(if head { &[] } else { &body });
                });
            }
        });
        Self { endpoint, state }
    }

    fn checkpoints(&self) -> usize {
        let objects = self.state.objects.lock().unwrap();
        objects.keys().filter(|path| path.contains("/checkpoints/")).count()
    }
}

#[test]
fn a_store_that_hangs_while_checkpoints_are_removed_keeps_no_job_from_ending() {
    let bucket = Bucket::start();
    let keys = "s3_access_key_id = \"k\"\ns3_secret_access_key = \"s\"";
    let mut place = Place::with(1, "", &format!("s3_endpoint = \"{}\"\n{keys}", bucket.endpoint));
    place.config.artifacts = "s3://bucket".into();
    let requests = (0..4).map(|number| place.request(&format!("t-{number}"), 3));
    requests.for_each(|request| place.send(&request, 0));
    let worker = place.worker("a");
    for number in 0..4 {
        assert_eq!(place.ended(&format!("t-{number}")).task_status, TaskStatus::Succeeded);
    }
    // The first removal has begun, and hangs.
    place.wait("a list is asked for", |_| (bucket.state.lists.load(Ordering::Acquire) > 0).then_some(()));
    assert!(bucket.checkpoints() > 0);
    bucket.state.answers.store(true, Ordering::Release);
    place.wait("nothing is left behind", |_| (bucket.checkpoints() == 0).then_some(()));
    worker.end();
    place.assert_proven([4, 4, 0, 0]);
}

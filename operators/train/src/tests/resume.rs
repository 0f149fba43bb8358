//! A training that is stopped and gone on with ends with the bytes of one that was not.

use std::time::Duration;

use serde_json::{Value, json};

use super::{parse, physics};
use crate::device::Ground;
use crate::job::TableJob;
use crate::kernel::Kernel;
use crate::{Job, RefusalKind, Tables, Trained};

fn settings(seed: u64) -> Value {
    let early = json!({ "patience": 3, "min_delta": 0.0 });
    let train = json!({ "epochs": 6, "batch_size": 128, "seed": seed, "early_stopping": early });
    super::request("classification", train, json!({ "path": "-", "label": "label", "weights": "weight" }))
}

fn start(request: &Value, resume: Option<&[u8]>, threads: usize) -> Result<TableJob, crate::Refusal> {
    let request = parse(request);
    let tables = Tables::from_batches(&[physics::gaussian(1500, 3)], &request)?;
    TableJob::start_on(&request, &tables, resume, &Ground::Cpu(Kernel::fastest()), threads)
}

fn undisturbed(threads: usize) -> Trained {
    let mut job = Box::new(start(&settings(1), None, threads).unwrap());
    while !job.step(Duration::from_secs(60)).unwrap().done {}
    job.finish().unwrap()
}

/// A new job from a checkpoint after every step.
fn disturbed() -> (Trained, usize) {
    let mut job = Box::new(start(&settings(1), None, 2).unwrap());
    let mut stops = 0;
    loop {
        let progress = job.step(Duration::ZERO).unwrap();
        assert_eq!(progress.steps_before, stops as u64, "a step a try");
        if progress.done {
            return (job.finish().unwrap(), stops);
        }
        let checkpoint = job.checkpoint().unwrap();
        job = Box::new(start(&settings(1), Some(&checkpoint), 1 + stops % 2).unwrap());
        assert_eq!(job.checkpoint().unwrap(), checkpoint, "nothing changes by being resumed");
        stops += 1;
    }
}

#[test]
fn a_resumed_job_ends_with_the_same_bytes() {
    let whole = undisturbed(1);
    let (resumed, stops) = disturbed();
    assert!(stops > 20, "{stops} stops");
    assert!(resumed.artifact == whole.artifact, "the artifacts differ");
    assert_eq!(resumed.history, whole.history);
    assert_eq!(resumed.evaluation, whole.evaluation);
    assert_eq!(undisturbed(2).artifact, whole.artifact, "two threads");
}

#[test]
fn a_job_resumed_at_its_end_is_done() {
    let mut job = start(&settings(1), None, 2).unwrap();
    while !job.step(Duration::from_secs(60)).unwrap().done {}
    let mut again = start(&settings(1), Some(&job.checkpoint().unwrap()), 2).unwrap();
    assert!(again.step(Duration::ZERO).unwrap().done);
    assert_eq!(again.history(), job.history());
}

#[test]
fn a_checkpoint_of_something_else_or_a_damaged_one_is_refused() {
    let checkpoint = start(&settings(1), None, 1).unwrap().checkpoint().unwrap();
    let other = start(&settings(2), Some(&checkpoint), 1).err().unwrap();
    assert_eq!(other.kind, RefusalKind::Checkpoint);
    assert!(other.message.contains("another request"), "{other}");
    for cut in [0, 7, 100, checkpoint.len() / 2, checkpoint.len() - 1] {
        let error = start(&settings(1), Some(&checkpoint[..cut]), 1).err().unwrap();
        assert_eq!(error.kind, RefusalKind::Checkpoint, "{cut}: {error}");
    }
}

//! Devices: what is refused, and whole trainings by way of candle beside the processor's.

use lunapark_models::Device;

use crate::{RefusalKind, trainers_on};

/// No machine has so many: with the backend or without, with a driver or without, this is an error and no trainer.
#[test]
fn a_device_that_is_not_there_is_an_error_that_says_what_to_do() {
    let error = trainers_on(Device::Cuda(255)).err().unwrap();
    assert_eq!(error.kind, RefusalKind::Device, "{error}");
    let text = error.to_string();
    assert!(text.starts_with("the device cuda:255 is asked for") && text.contains("`train.device`"), "{text}");
    assert_eq!(text.contains("built without CUDA") && text.contains("deploy/cuda"), !cfg!(feature = "cuda"), "{text}");
    assert_eq!(text.contains("nvidia-smi"), cfg!(feature = "cuda"), "{text}");
    assert_eq!(trainers_on(Device::Cpu).unwrap().len(), 2);
}

#[cfg(feature = "candle")]
mod whole {
    use std::time::Duration;

    use arrow_array::RecordBatch;
    use serde_json::{Value, json};

    use super::super::{batch, floats, on_both, parse, physics, request, tasks};
    use crate::device::Ground;
    use crate::job::TableJob;
    use crate::kernel::Kernel;
    use crate::random::Random;
    use crate::{Job, Refusal, RefusalKind, Tables, Trained};

    on_both!(
        each_objective_comes_to_the_processors_scores,
        a_resumed_job_ends_with_the_same_bytes,
        a_checkpoint_of_another_device_is_refused,
    );

    fn start(
        ground: &Ground,
        request: &Value,
        table: &RecordBatch,
        resume: Option<&[u8]>,
    ) -> Result<Box<TableJob>, Refusal> {
        let request = parse(request);
        let tables = Tables::from_batches(std::slice::from_ref(table), &request)?;
        TableJob::start_on(&request, &tables, resume, ground, 1).map(Box::new)
    }

    fn train(ground: &Ground, request: &Value, table: &RecordBatch) -> Trained {
        let mut job = start(ground, request, table, None).unwrap();
        while !job.step(Duration::from_millis(50)).unwrap().done {}
        job.finish().unwrap()
    }

    fn settings(epochs: u32) -> Value {
        json!({ "epochs": epochs, "batch_size": 64, "seed": 3, "optimizer": { "init_lr": 3e-3 } })
    }

    /// Two classes with weights of both signs.
    fn signed(epochs: u32) -> (Value, RecordBatch) {
        let mut train = settings(epochs);
        train["class_weight"] = json!("balanced");
        train["early_stopping"] = json!({ "patience": 3 });
        let dataset = json!({ "path": "-", "label": "label", "weights": "weight" });
        (request("classification", train, dataset), physics::gaussian(2000, 5))
    }

    fn classes() -> (Value, RecordBatch) {
        let (x, y, _) = tasks::blobs();
        let table = batch(vec![("x", floats(x)), ("label", tasks::words()), ("y", floats(y))]);
        let mut request = request("classification", settings(8), json!({ "path": "-", "label": "label" }));
        request["model"]["architecture"] = json!({ "hidden": [24, 10], "activation": "tanh" });
        (request, table)
    }

    fn numbers() -> (Value, RecordBatch) {
        let mut random = Random::new(12, 0);
        let x: Vec<f32> = (0..1000).map(|_| random.uniform(-1.0, 1.0)).collect();
        let y: Vec<f32> = (0..1000).map(|_| random.uniform(2.0, 3.0)).collect();
        let label: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 1000.0 + 50.0 * x * x + 20.0 * y).collect();
        let table = batch(vec![("x", floats(x)), ("y", floats(y)), ("energy", floats(label))]);
        let mut request = request("regression", settings(10), json!({ "path": "-", "label": "energy" }));
        request["model"]["architecture"] = json!({ "hidden": [32], "activation": "sigmoid" });
        (request, table)
    }

    fn circle() -> (Value, RecordBatch) {
        (request("anomaly-detection", settings(10), json!({ "path": "-", "label": "odd" })), tasks::circle())
    }

    fn each_objective_comes_to_the_processors_scores(ground: &Ground) {
        for (request, table) in [signed(6), classes(), numbers(), circle()] {
            let what = &request["model"]["objective"];
            let expected = train(&Ground::Cpu(Kernel::fastest()), &request, &table);
            let found = train(ground, &request, &table);
            assert_eq!(found.history.len(), expected.history.len(), "{what}");
            for (found, expected) in found.history.iter().zip(&expected.history) {
                let near = |a: f64, b: f64| (a - b).abs() <= 0.01 * b.abs().max(0.1);
                let losses = near(found.loss, expected.loss) && near(found.val_loss, expected.val_loss);
                assert!(losses, "{what}: {found:?}, on the CPU {expected:?}");
                assert_eq!(found.learning_rate, expected.learning_rate);
            }
            for (name, expected) in &expected.evaluation {
                let found = found.evaluation[name];
                assert!(
                    (found - expected).abs() <= 0.02 * expected.abs().max(0.1),
                    "{what} {name}: {found} {expected}"
                );
            }
        }
    }

    fn a_resumed_job_ends_with_the_same_bytes(ground: &Ground) {
        let (request, table) = signed(2);
        let whole = train(ground, &request, &table);
        assert!(train(ground, &request, &table).artifact == whole.artifact, "the same seed gives the same bytes");
        let (mut job, mut stops) = (start(ground, &request, &table, None).unwrap(), 0);
        while !job.step(Duration::ZERO).unwrap().done {
            let checkpoint = job.checkpoint().unwrap();
            job = start(ground, &request, &table, Some(&checkpoint)).unwrap();
            assert!(job.checkpoint().unwrap() == checkpoint, "nothing changes by being resumed");
            stops += 1;
        }
        let resumed = job.finish().unwrap();
        assert!(stops > 20, "{stops} stops");
        assert!(resumed.artifact == whole.artifact, "the artifacts differ");
        assert_eq!(resumed.history, whole.history);
    }

    fn a_checkpoint_of_another_device_is_refused(ground: &Ground) {
        let (request, table) = signed(2);
        let cpu = Ground::Cpu(Kernel::fastest());
        for (from, to) in [(&cpu, ground), (ground, &cpu)] {
            let checkpoint = start(from, &request, &table, None).unwrap().checkpoint().unwrap();
            let error = start(to, &request, &table, Some(&checkpoint)).err().unwrap();
            assert_eq!(error.kind, RefusalKind::Checkpoint, "{error}");
            assert!(error.message.contains("or device"), "{error}");
        }
    }
}

use arrow_array::{FixedSizeListArray, Float32Array, RecordBatch};
use std::sync::Arc;
fn main() {
    let rows: Vec<f32> = std::fs::read("operators/models/fixtures/higgs.rows.f32").unwrap().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    for f in ["higgs-mlp.safetensors", "higgs-xgb.json"] {
        let l = lunapark_models::load(&std::fs::read(format!("pipelines/assets/{f}")).unwrap(), f, None).unwrap();
        println!("{f}: {} {}", l.format, l.summary);
        let schema = l.model.signature().input_schema();
        for n in [1usize, 8, 32, 256, 8192] {
            let v: Vec<f32> = rows.iter().cycle().take(n * 28).copied().collect();
            let arrow_schema::DataType::FixedSizeList(item, _) = schema.field(0).data_type().clone() else { panic!() };
            let col = FixedSizeListArray::try_new(item, 28, Arc::new(Float32Array::from(v)), None).unwrap();
            let b = RecordBatch::try_new(schema.clone(), vec![Arc::new(col)]).unwrap();
            let mut best = f64::MAX;
            for _ in 0..7 {
                let reps = (100_000 / n).max(1);
                let t = std::time::Instant::now();
                for _ in 0..reps { std::hint::black_box(l.model.infer(std::hint::black_box(&b)).unwrap()); }
                best = best.min(t.elapsed().as_secs_f64() / (reps * n) as f64);
            }
            println!("  batch {n:5}: {:>12.0} rows/s", 1.0 / best);
        }
    }
}

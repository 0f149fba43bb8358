//! temporary
use super::*;
use std::hint::black_box;
use std::time::Instant;

fn best(label: &str, per: usize, mut f: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..15 {
        let t = Instant::now();
        for _ in 0..2000 {
            f();
        }
        best = best.min(t.elapsed().as_secs_f64() / 2000.0);
    }
    eprintln!("{label}: {:.1} ns", best * 1e9 / per as f64);
}

#[test]
#[ignore]
fn speed() {
    let mut seed = 1u64;
    let mut rnd = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as f64 / (1u64 << 31) as f64
    };
    let mut event = |digits: usize| {
        let v: Vec<String> = (0..28)
            .map(|i| {
                let x = if i % 2 == 0 { rnd() * 2.5 } else { (rnd() - 0.5) * 4.0 };
                if digits == 99 {
                    format!("{}", (x as f32))
                } else if digits == 98 {
                    format!("{x}")
                } else {
                    format!("{x:.digits$}")
                }
            })
            .collect();
        v
    };
    for (name, digits) in [("3 decimals", 3), ("4 decimals", 4), ("f32 shortest", 99), ("f64 shortest", 98)] {
        let payloads: Vec<String> =
            (0..500).map(|_| format!("{{\"instances\":[[{}]]}}", event(digits).join(","))).collect();
        let spaced: Vec<String> =
            (0..500).map(|_| format!("{{\"instances\": [[{}]]}}", event(digits).join(", "))).collect();
        let v2: Vec<String> = (0..500)
            .map(|_| {
                format!(
                    "{{\"inputs\":[{{\"name\":\"input\",\"shape\":[1,28],\"datatype\":\"FP32\",\"data\":[{}]}}]}}",
                    event(digits).join(",")
                )
            })
            .collect();
        eprintln!("{name}: {} bytes", payloads[0].len());
        for (kind, payloads) in [("compact", &payloads), ("spaced", &spaced), ("v2", &v2)] {
            let mut messages = Messages::new();
            for p in payloads {
                messages.push(
                    At { topic: "t", partition: 0, offset: 0, timestamp: 0 },
                    None,
                    Some(p.as_bytes()),
                    std::iter::empty(),
                );
            }
            let mut rows = RowsBuilder::new(plain(28), 600);
            let limits = Limits::default();
            let mut i = 0;
            best(kind, 1, || {
                if i == 500 {
                    i = 0;
                    rows.rollback(0);
                }
                black_box(decode(&messages.get(i), &mut rows, &limits)).unwrap();
                i += 1;
            });
            if kind == "compact" {
                rows.rollback(0);
                i = 0;
                best("general", 1, || {
                    if i == 500 {
                        i = 0;
                        rows.rollback(0);
                    }
                    let m = messages.get(i);
                    let inst = json::Members::of(json::document(m.value.unwrap()).unwrap()).unwrap().instances.unwrap();
                    black_box(kserve_v1::decode(inst, &mut rows, &limits)).unwrap();
                    i += 1;
                });
            }
        }
    }
    let outs = scores(&(0..1000).map(|_| rnd() as f32).collect::<Vec<_>>());
    let request = Request::new(Format::KserveV1, 1, Extra::default());
    let sig = plain(28);
    let context = ReplyContext { model_name: "higgs", model_version: "3", signature: &sig };
    let mut value = Vec::with_capacity(1 << 20);
    let mut i = 0;
    best("encode v1", 1, || {
        value.clear();
        black_box(encode(&request, &context, &outs, i..i + 1, &[], &mut value)).unwrap();
        i = (i + 1) % 1000;
    });
    // arrow 256
    let vals: Vec<f32> = (0..256 * 28).map(|_| rnd() as f32).collect();
    let rws: Vec<_> = vals.chunks(28).map(Some).collect();
    let batch = RecordBatch::try_from_iter([("input", super::arrow::lists(&rws, 28))]).unwrap();
    let payload = super::arrow::stream(&[batch], None);
    let mut h = HeadersBuf::new();
    h.push_str("content-type", "application/vnd.apache.arrow.stream");
    let mut rows = RowsBuilder::new(sig.clone(), 300);
    with_message(&payload, h.view(), |m| {
        best("arrow decode per event of 256", 256, || {
            rows.rollback(0);
            black_box(decode(m, &mut rows, &Limits::default())).unwrap();
        })
    });
    let request = Request::new(Format::Arrow, 256, Extra::default());
    best("arrow encode per event of 256", 256, || {
        value.clear();
        black_box(encode(&request, &context, &outs, 0..256, &[], &mut value)).unwrap();
    });
    let request = Request::new(Format::KserveV1, 256, Extra::default());
    best("v1 encode per event of 256", 256, || {
        value.clear();
        black_box(encode(&request, &context, &outs, 0..256, &[], &mut value)).unwrap();
    });
}

#[test]
#[ignore]
fn plain_only() {
    let mut seed = 1u64;
    let mut rnd = || { seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); (seed >> 33) as f64 / (1u64 << 31) as f64 };
    let mut messages = Messages::new();
    for _ in 0..500 {
        let v: Vec<String> = (0..28).map(|i| { let x = if i % 2 == 0 { rnd() * 2.5 } else { (rnd() - 0.5) * 4.0 }; format!("{x:.3}") }).collect();
        let p = format!("{{\"instances\":[[{}]]}}", v.join(","));
        messages.push(At { topic: "t", partition: 0, offset: 0, timestamp: 0 }, None, Some(p.as_bytes()), std::iter::empty());
    }
    let limits = Limits::default();
    let mut rows = RowsBuilder::new(plain(28), 600);
    let mut i = 0;
    for _ in 0..40 { best("plain", 1, || { if i == 500 { i = 0; rows.rollback(0); } black_box(decode(&messages.get(i), &mut rows, &limits)).unwrap(); i += 1; }); }
}

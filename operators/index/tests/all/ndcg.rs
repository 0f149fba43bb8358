//! nDCG, recall and reciprocal rank against ir_measures.

use std::collections::HashMap;

use lunapark_index::metrics::{Judgements, mean, ndcg, rank, recall, reciprocal_rank};

#[derive(serde::Deserialize)]
struct Fixture {
    judgements: HashMap<String, Judgements>,
    run: HashMap<String, HashMap<String, f64>>,
    values: HashMap<String, HashMap<String, f64>>,
}

#[test]
fn values_are_those_of_ir_measures() {
    let fixture: Fixture = serde_json::from_str(include_str!("../../fixtures/ndcg.json")).unwrap();
    assert_eq!(fixture.run.len(), 30);
    let mut all = Vec::new();
    for (question, scores) in &fixture.run {
        let ranking = rank(&scores.iter().map(|(document, score)| (document.clone(), *score)).collect::<Vec<_>>());
        let (judgements, expected) = (&fixture.judgements[question], &fixture.values[question]);
        for (name, found) in [
            ("ndcg_10", ndcg(&ranking, judgements, 10)),
            ("ndcg_3", ndcg(&ranking, judgements, 3)),
            ("recall_5", recall(&ranking, judgements, 5)),
            ("recall_100", recall(&ranking, judgements, 100)),
            ("rr", reciprocal_rank(&ranking, judgements)),
        ] {
            assert!((found - expected[name]).abs() < 1e-9, "{question}, {name}: {found} is not {}", expected[name]);
            all.push(found);
        }
    }
    assert!((0.1..0.9).contains(&mean(&all)));
}

//! The scorer on a toy model: which model, which rows, which outcome.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, RecordBatch};
use futures::executor::block_on;
use lunapark_models::{Accepts, Model, ModelError, ModelErrorKind};
use lunapark_operator::{Batch, Codec, Member, Operator, Reply, Retry, Scored, VersionName};
use lunapark_schemas::headers::MODEL;
use lunapark_schemas::inference::{Format, Limits, Request};
use lunapark_schemas::messages::At;
use lunapark_schemas::rows::f32_values;
use lunapark_schemas::{
    Datatype, ErrorClass, HeadersBuf, Messages, Outcome, RowsBuilder, Share, Signature, TensorSpec,
};

use crate::{
    Cut, CutTable, Cuts, InferenceCodec, ModelEntry, ModelSet, Named, NotAdded, Scorer, ShadowCut, Taker, Version,
};

/// Adds up a row of two.
struct Sum {
    signature: Arc<Signature>,
    factor: f32,
}

impl Model for Sum {
    fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    fn accepts(&self) -> Accepts {
        Accepts { missing: false, infinite: false }
    }

    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError> {
        let values = f32_values(rows.column(0)).unwrap();
        assert!(values.iter().all(|v| !v.is_nan()), "rows with missing values are set aside before");
        let sums: Vec<f32> = values.chunks(2).map(|row| (row[0] + row[1]) * self.factor).collect();
        let column = Arc::new(Float32Array::from(sums)) as ArrayRef;
        Ok(RecordBatch::try_new(self.signature.output_schema(), vec![column]).unwrap())
    }
}

fn models() -> Arc<ModelSet> {
    let entry = |name: &str, version: &str, factor| {
        let (input, output) = (TensorSpec::new("x", Datatype::Fp32, 2), TensorSpec::new("y", Datatype::Fp32, 1));
        let signature = Arc::new(Signature { inputs: vec![input], outputs: vec![output] });
        ModelEntry::new(name, version, "0123456789abcdef", Arc::new(Sum { signature, factor }))
    };
    Arc::new(ModelSet::new(vec![entry("sum", "1", 1.0), entry("sum", "2", 10.0), entry("other", "1", -1.0)]))
}

/// What becomes of messages with these headers and values: model index and reply, or class and text of the rejection.
fn ends(requests: &[(Option<&str>, &str)]) -> Vec<Result<(usize, String), (ErrorClass, String)>> {
    let mut messages = Messages::new();
    for (offset, (model, value)) in requests.iter().enumerate() {
        let mut headers = HeadersBuf::new();
        if let Some(name) = model {
            headers.push_str(MODEL, name);
        }
        let at = At { topic: "t", partition: 0, offset: offset as i64, timestamp: 0 };
        messages.push(at, None, Some(value.as_bytes()), headers.view());
    }
    let codec = InferenceCodec::new(models(), Limits::default());
    let scorer = Scorer::new(models());
    let decoded = codec.decode(&messages, &(0..messages.len()).collect::<Vec<_>>());
    let mut ends: Vec<_> = requests.iter().map(|_| None).collect();
    for (index, rejection) in decoded.rejected {
        ends[index] = Some(Err((rejection.class, rejection.message)));
    }
    for batch in &decoded.batches {
        let outcomes: Vec<Outcome<Scored>> = block_on(scorer.process(batch)).unwrap();
        for (member, outcome) in batch.members.iter().zip(outcomes) {
            let mut reply = Reply::default();
            assert!(ends[member.message].is_none(), "one end for each message");
            ends[member.message] = Some(match outcome {
                Outcome::Reject(rejection) => Err((rejection.class, rejection.message)),
                Outcome::Skip(_) => panic!("the scorer filters nothing"),
                Outcome::Emit(out) => {
                    codec.encode(&messages.get(member.message), batch.model, member, &out, &mut reply).unwrap();
                    Ok((batch.model, String::from_utf8(reply.value).unwrap()))
                }
            });
        }
    }
    ends.into_iter().map(|end| end.expect("every message ends")).collect()
}

#[test]
fn the_header_chooses_name_and_version() {
    let event = r#"{"instances":[[1,2]]}"#;
    let wanted = [None, Some("sum"), Some("sum/1"), Some("other"), Some(" sum/2 ")];
    let ends = ends(&wanted.map(|model| (model, event)));
    let models: Vec<usize> = ends.iter().map(|end| end.as_ref().unwrap().0).collect();
    assert_eq!(models, [0, 1, 0, 2, 1], "the default is the first, a bare name its last version");
    assert_eq!(ends[0], Ok((0, r#"{"predictions":[3.0]}"#.into())));
}

#[test]
fn an_unknown_model_names_those_there_are() {
    for wanted in ["none", "sum/3", "", "sum/"] {
        let (class, message) = ends(&[(Some(wanted), r#"{"instances":[[1,2]]}"#)]).remove(0).unwrap_err();
        assert_eq!(class, ErrorClass::UnknownModel);
        assert!(message.contains("sum/1, sum/2, other/1"), "{message}");
    }
}

#[test]
fn a_missing_value_costs_its_row_alone() {
    let requests =
        [r#"{"instances":[[1,2]]}"#, r#"{"instances":[[1,2],[null,1],[3,4]]}"#, r#"{"instances":[[1,null]]}"#];
    let ends = ends(&requests.map(|value| (None, value)));
    assert_eq!(ends[0], Ok((0, r#"{"predictions":[3.0]}"#.into())));
    let (_, partial) = ends[1].as_ref().unwrap();
    assert!(partial.starts_with(r#"{"predictions":[3.0,null,7.0],"failed":[{"row":1"#), "{partial}");
    assert!(partial.contains("row 1: `x`[0] is missing"), "{partial}");
    let (class, message) = ends[2].as_ref().unwrap_err();
    assert_eq!(*class, ErrorClass::Missing);
    assert!(message.contains("row 0: `x`[1] is missing"), "{message}");
}

#[test]
fn rows_that_fail_to_decode_and_rows_that_lack_values_are_told_together() {
    let ends = ends(&[(None, r#"{"instances":[[1,2,3],[1,null],[5,6],["a",1]]}"#)]);
    let (_, reply) = ends[0].as_ref().unwrap();
    assert!(reply.starts_with(r#"{"predictions":[null,null,11.0,null]"#), "{reply}");
    let rows: Vec<_> = reply.match_indices("\"row\":").map(|(at, _)| &reply[at + 6..at + 7]).collect();
    assert_eq!(rows, ["0", "1", "3"]);
}

#[test]
fn an_infinity_costs_its_row_alone() {
    let mut rows = RowsBuilder::new(models().get(0).unwrap().signature.clone(), 3);
    [1.0, 2.0, 3.0, f64::INFINITY, 5.0, 6.0].into_iter().for_each(|value| rows.columns_mut()[0].push(value));
    assert!(rows.commit(3));
    let request = Request { format: Format::KserveV1, rows: 3, extra: None };
    let members = vec![Member { message: 0, start: 0, request }];
    let batch = Batch { model: 0, rows: rows.finish().unwrap(), members };
    let outcome = block_on(Scorer::new(models()).process(&batch)).unwrap().remove(0);
    let Outcome::Emit(scored) = outcome else { panic!("{outcome:?}") };
    assert_eq!(f32_values(scored.outputs.column(0)), Some(&[3.0, 11.0][..]));
    let failed = &scored.failed[0];
    assert_eq!((failed.row, failed.rejection.class), (1, ErrorClass::Value));
    assert!(failed.rejection.message.starts_with("row 1: `x`[1] is infinite"), "{}", failed.rejection.message);
}

/// Events of partition 0 with these headers and keys of their own, from offset 0 on.
fn events(wanted: &[Option<&str>]) -> Messages {
    let mut messages = Messages::new();
    for (offset, model) in wanted.iter().enumerate() {
        let mut headers = HeadersBuf::new();
        if let Some(name) = model {
            headers.push_str(MODEL, name);
        }
        let at = At { topic: "t", partition: 0, offset: offset as i64, timestamp: 0 };
        let key = offset.to_string();
        messages.push(at, Some(key.as_bytes()), Some(br#"{"instances":[[1,2]]}"#), headers.view());
    }
    messages
}

/// Which model scores each message, in batches like these.
fn scorers(batches: &[Batch], count: usize) -> Vec<Option<usize>> {
    let mut found = vec![None; count];
    for batch in batches {
        batch.members.iter().for_each(|member| found[member.message] = Some(batch.model));
    }
    found
}

fn decode(cuts: Cuts, messages: &Messages) -> lunapark_operator::Decoded {
    let table = Arc::new(CutTable::default());
    table.set(0, cuts);
    let codec = InferenceCodec::with_cuts(models(), table, Limits::default());
    codec.decode(messages, &(0..messages.len()).collect::<Vec<_>>())
}

#[test]
fn cuts_decide_for_what_pins_no_version() {
    // `other/1` from offset 1 on, `sum/2` from offset 3 on.
    let cuts = Cuts::live(vec![Cut::to(2, 1), Cut::to(1, 3)]);
    let wanted = [None, None, Some("sum/1"), None, Some("other"), Some("sum"), Some("sum/1")];
    let decoded = decode(cuts, &events(&wanted));
    assert_eq!(scorers(&decoded.batches, 7), [0, 2, 0, 1, 2, 1, 0].map(Some));
    assert!(decoded.shadow.is_empty());
}

#[test]
fn a_canary_takes_its_share_and_a_name_alone_follows_it() {
    let share = Share::try_from(0.5).unwrap();
    let cut = Cut { canary: Some(Taker { model: 1, share }), ..Cut::to(0, 0) };
    let messages = events(&[&[None; 40][..], &[Some("sum"); 40], &[Some("sum/1"), Some("other")]].concat());
    let decoded = decode(Cuts::live(vec![cut]), &messages);
    let found = scorers(&decoded.batches, 82);
    for (message, model) in messages.iter().zip(&found).take(80) {
        assert_eq!(*model, Some(usize::from(share.takes(&message))), "{}", message.offset);
    }
    assert!(found[..40].contains(&Some(0)) && found[..40].contains(&Some(1)));
    assert_eq!(found[80..], [Some(0), Some(2)]);
}

#[test]
fn a_shadow_scores_besides_and_changes_no_result() {
    let taker = Taker { model: 1, share: Share::try_from(0.5).unwrap() };
    let shadow = vec![ShadowCut { from: 10, taker: Some(taker) }, ShadowCut { from: 60, taker: None }];
    let messages = events(&[&[None; 70][..], &[Some("sum/1")]].concat());
    let decoded = decode(Cuts { shadow, ..Cuts::default() }, &messages);
    assert_eq!(scorers(&decoded.batches, 71), vec![Some(0); 71]);
    let found = scorers(&decoded.shadow, 71);
    for (message, model) in messages.iter().zip(&found).take(70) {
        let due = (10..60).contains(&message.offset) && taker.share.takes(&message);
        assert_eq!(*model, due.then_some(1), "{}", message.offset);
    }
    assert!(found.iter().flatten().count() > 10);
    assert_eq!(found[70], None, "a pinned event is outside the cuts");
}

#[test]
fn what_an_instance_has_loaded_besides_makes_no_difference_to_a_pinned_event() {
    let set = models();
    let model = set.get(0).unwrap().model().unwrap();
    let kept = set.add(ModelEntry::new("sum", "3", "feed", model)).unwrap();
    let messages = events(&[None; 6]);
    let wanted =
        |live: &[Cut], offset: usize| set.resolve(b"sum/3", &Cuts::live(live.to_vec()), &messages.get(offset)).ok();
    assert_eq!(wanted(&[], 5), None, "loaded, but no cut of this partition names it");
    let cut = [Cut::to(kept.index, 3)];
    assert_eq!((wanted(&cut, 2), wanted(&cut, 3)), (None, Some(kept.index)), "from its cut on");
    let canary = Some(Taker { model: kept.index, share: Share::try_from(0.1).unwrap() });
    assert_eq!(wanted(&[Cut { canary, ..Cut::to(0, 0) }], 0), Some(kept.index));
    let bare = |offset: usize| set.resolve(b"sum", &Cuts::live(cut.to_vec()), &messages.get(offset)).ok();
    assert_eq!((bare(0), bare(5)), (Some(1), Some(kept.index)), "a name alone is the configuration's until the cut");
}

#[test]
fn a_version_that_is_away_is_asked_for_only_where_an_event_names_it() {
    let share = Share::try_from(0.5).unwrap();
    let version = |version: &str| VersionName { name: "sum".into(), version: version.into() };
    let named = |from, share, version| Named { from, share, version };
    let cuts = Cuts {
        live: vec![Cut::to(1, 5)],
        named: vec![
            named(0, None, Version::Loaded(0)),
            named(2, None, Version::Away(version("7"))),
            named(2, Some(share), Version::Away(version("8"))),
            named(5, None, Version::Loaded(1)),
        ],
        ..Cuts::default()
    };
    let wanted = [None, Some("sum/7"), Some("sum/7"), Some("sum"), Some("sum"), Some("sum"), Some("sum/8"), None];
    let messages = events(&wanted);
    let decoded = decode(cuts, &messages);
    let mut due = [Some(0), None, None, None, None, Some(1), None, Some(1)];
    assert_eq!(scorers(&decoded.batches, 8), due, "what names no model that is away is decoded");
    assert_eq!(decoded.rejected.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1], "it was not cut to yet");
    let alone = |index: usize| if share.takes(&messages.get(index)) { "8" } else { "7" };
    let waiting: Vec<_> = decoded.waiting.iter().map(|w| (w.message, w.version.clone())).collect();
    let expected = [(2, "7"), (3, alone(3)), (4, alone(4)), (6, "8")].map(|(index, v)| (index, version(v)));
    assert_eq!(waiting, expected);
    // Whoever scores the past with another model gives it the events of its name that pin no version.
    let cuts = Cuts { instead: Some(0), live: vec![Cut::to(0, 0)], ..Cuts::default() };
    due = [Some(0), None, None, Some(0), Some(0), Some(0), None, Some(0)];
    assert_eq!(scorers(&decode(cuts, &messages).batches, 8), due);
}

#[test]
fn of_an_earlier_configuration_only_the_default_is_known() {
    let named = |from, version| Named { from, share: None, version };
    // First another default, then the present one.
    let configured = vec![named(0, Version::Loaded(1)), named(3, Version::Loaded(0))];
    let wanted = [Some("sum"), Some("other"), Some("sum/1"), Some("sum"), Some("sum/9")];
    let decoded = decode(Cuts { configured, ..Cuts::default() }, &events(&wanted));
    // `sum/2` is the last of its name in the configuration.
    assert_eq!(scorers(&decoded.batches, 5), [Some(1), Some(2), Some(0), Some(1), None]);
    let away = Version::Away(VersionName { name: "sum".into(), version: "9".into() });
    let decoded = decode(Cuts { configured: vec![named(0, away)], ..Cuts::default() }, &events(&wanted));
    assert_eq!(decoded.waiting.iter().map(|waiting| waiting.message).collect::<Vec<_>>(), [0, 3, 4]);
}

#[test]
fn a_set_grows_keeps_one_model_for_a_version_and_lets_go_what_nobody_keeps() {
    let set = models();
    let model = set.get(1).unwrap().model().unwrap();
    let [digest, name] = [&set.get(1).unwrap().digest, &set.get(1).unwrap().name].map(String::clone);
    assert_eq!(set.add(ModelEntry::new(&name, "2", &digest, model)).unwrap().index, 1);
    let new = || {
        let (input, output) = (TensorSpec::new("x", Datatype::Fp32, 2), TensorSpec::new("y", Datatype::Fp32, 1));
        let signature = Arc::new(Signature { inputs: vec![input], outputs: vec![output] });
        Arc::new(Sum { signature, factor: 3.0 })
    };
    let kept = set.add(ModelEntry::new("sum", "3", "feed", new())).unwrap();
    assert_eq!((kept.index, set.find("sum", "3")), (3, Some(3)));
    let other = set.add(ModelEntry::new("sum", "3", "beef", new()));
    assert!(matches!(other.map(|kept| kept.index), Err(NotAdded::OtherDigest { .. })));
    assert!(set.keep("sum", "3", "feed").is_some() && set.keep("sum", "3", "beef").is_none());
    drop(kept);
    assert!(set.get(3).unwrap().model().is_none() && set.keep("sum", "3", "feed").is_none());
    let again = set.add(ModelEntry::new("sum", "3", "feed", new())).unwrap();
    assert_eq!(again.index, 3, "it comes back under its index");
    assert!(set.get(3).unwrap().model().is_some() && set.get(0).unwrap().model().is_some());
}

/// Has lost its device, or was given rows that it cannot take.
struct Broken(Sum, ModelErrorKind);

impl Model for Broken {
    fn signature(&self) -> &Arc<Signature> {
        self.0.signature()
    }

    fn accepts(&self) -> Accepts {
        self.0.accepts()
    }

    fn infer(&self, _: &RecordBatch) -> Result<RecordBatch, ModelError> {
        let (what, advice) = ("cuda:0 does not answer".to_owned(), "look at it".to_owned());
        Err(ModelError { kind: self.1, file: String::new(), what, advice })
    }
}

#[test]
fn events_wait_for_a_device_that_does_not_answer() {
    let mut messages = Messages::new();
    let at = At { topic: "t", partition: 0, offset: 0, timestamp: 0 };
    messages.push(at, None, Some(br#"{"instances": [[1, 2]]}"#), HeadersBuf::new().view());
    for (kind, waits) in [(ModelErrorKind::Device, true), (ModelErrorKind::Shape, false)] {
        let (input, output) = (TensorSpec::new("x", Datatype::Fp32, 2), TensorSpec::new("y", Datatype::Fp32, 1));
        let signature = Arc::new(Signature { inputs: vec![input], outputs: vec![output] });
        let model = Arc::new(Broken(Sum { signature, factor: 1.0 }, kind));
        let set = Arc::new(ModelSet::new(vec![ModelEntry::new("net", "1", "0123456789abcdef", model)]));
        let decoded = InferenceCodec::new(set.clone(), Limits::default()).decode(&messages, &[0]);
        let error = block_on(Scorer::new(set).process(&decoded.batches[0])).unwrap_err();
        assert_eq!(matches!(error.retry, Retry::After(_)), waits, "{error}");
        assert!(error.message.contains("does not answer"), "{error}");
    }
}

//! Shadows through the whole runner: whatever becomes of one, every result comes once and by the model of its cut.

use std::time::Duration;

use lunapark_schemas::Share;
use lunapark_schemas::cuts::{Role, governing};
use lunapark_schemas::promotion::{Promotion, PromotionKind};
use lunapark_topics::LogErrorKind;

use super::tests_switch::{MESSAGES, Ran, Refuses, Told, promotion, run, taken};

/// The shadow scored what its cuts say, all of it and nothing else.
fn assert_shadowed(ran: &Ran, share: f64) -> usize {
    let share = Share::try_from(share).unwrap();
    let cuts = ran.cuts(Role::Shadow);
    let on = |offset: i64| governing(&cuts, offset).is_some_and(|cut| cut.share == Some(share));
    let due: Vec<_> = (0..MESSAGES).filter(|offset| on(*offset) && taken(share, *offset)).collect();
    let found: Vec<_> = ran.committed.iter().flat_map(|transaction| transaction.shadow.clone()).collect();
    assert!(found.iter().all(|(_, version)| version == "2"));
    assert_eq!(found.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), due);
    due.len()
}

#[test]
fn a_shadow_scores_its_share_besides_and_no_result_changes() {
    for reads_on in [0, 3] {
        let begin = promotion(1, PromotionKind::Shadow, Some(0.5));
        let end = Promotion { share: None, ..promotion(2, PromotionKind::ShadowEnd, None) };
        let ran = run(Told { reads_on, promotes: vec![(3, begin), (9, end)], ..Told::default() });
        ran.assert_obeyed();
        assert_eq!(ran.cuts(Role::Live).len(), 1, "only that of the configuration");
        assert_eq!(ran.cuts(Role::Shadow).len(), 2);
        assert!(assert_shadowed(&ran, 0.5) > 5);
    }
}

#[test]
fn a_shadow_that_fails_is_ended_at_an_offset_and_the_results_do_not_notice() {
    let begin = || vec![(3, promotion(1, PromotionKind::Shadow, Some(1.0)))];
    for (reads_on, panics) in [(0, false), (0, true), (3, false), (3, true)] {
        let ran = run(Told { reads_on, panics, good: 4, promotes: begin(), ..Told::default() });
        ran.assert_obeyed();
        let cuts = ran.cuts(Role::Shadow);
        assert_eq!(cuts.len(), 2, "{cuts:?}");
        let reason = cuts[1].reason.as_deref().unwrap_or_default();
        assert!(reason.contains(if panics { "panicked" } else { "told to fail" }), "{reason}");
        assert!(assert_shadowed(&ran, 1.0) > 0);
        assert!(ran.aborted.is_empty());
    }
    let slow = run(Told { patience: Duration::ZERO, promotes: begin(), ..Told::default() });
    slow.assert_obeyed();
    assert!(slow.cuts(Role::Shadow)[1].reason.as_deref().unwrap_or_default().contains("score.shadow_patience"));
}

#[test]
fn a_shadow_that_the_log_refuses_is_ended_and_every_result_comes_once() {
    for when in [Refuses::AtOnce, Refuses::AtCommit] {
        for reads_on in [0, 3] {
            let promotes = vec![(3, promotion(1, PromotionKind::Shadow, Some(1.0)))];
            let ran = run(Told { reads_on, refuses: Some((50, when)), promotes, ..Told::default() });
            ran.assert_obeyed();
            let cuts = ran.cuts(Role::Shadow);
            assert_eq!(cuts.len(), 2, "{when:?}: {cuts:?}");
            assert!((40..=50).contains(&cuts[1].next_offset), "{cuts:?}");
            assert!(cuts[1].reason.as_deref().unwrap_or_default().contains("told to refuse"), "{cuts:?}");
            let scored = assert_shadowed(&ran, 1.0);
            assert_eq!(ran.aborted.len(), 1, "once is enough");
            assert_eq!((ran.counted("failed"), ran.counted("scored")), (1.0, scored as f64));
        }
    }
}

#[test]
fn a_shadow_that_fails_together_with_its_transaction_is_not_tried_again() {
    for kind in [LogErrorKind::Rebalanced, LogErrorKind::Timeout] {
        for (reads_on, fails) in [(0, 1), (0, 3), (3, 1), (3, 3)] {
            let ran = run(Told {
                reads_on,
                fails,
                failing: |open| open.cuts.iter().any(|cut| cut.reason.is_some()),
                kind,
                good: 4,
                promotes: vec![(3, promotion(1, PromotionKind::Shadow, Some(1.0)))],
                ..Told::default()
            });
            ran.assert_obeyed();
            assert_shadowed(&ran, 1.0);
            let cuts = ran.cuts(Role::Shadow);
            assert_eq!((cuts.len(), cuts[1].reason.as_deref()), (2, Some("told to fail")), "{kind:?}: {cuts:?}");
            assert_eq!((ran.asked, ran.counted("failed")), (5, 1.0), "{kind:?} {reads_on} {fails}");
        }
    }
}

#[test]
fn what_a_shadow_does_not_score_is_counted_by_promotion_and_version() {
    let promotes = vec![(3, promotion(1, PromotionKind::Shadow, Some(1.0)))];
    let ran = run(Told { rejects: Some(2), promotes, ..Told::default() });
    ran.assert_obeyed();
    let from = ran.cuts(Role::Shadow)[0].next_offset;
    let written: usize = ran.committed.iter().map(|transaction| transaction.shadow.len()).sum();
    assert_eq!(ran.counted("scored"), written as f64);
    assert_eq!(ran.counted("scored") + ran.counted("rejected"), (MESSAGES - from) as f64);
    assert!(ran.counted("rejected") > 10.0 && ran.counted("failed") == 0.0);
}

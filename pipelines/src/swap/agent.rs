//! An instance's ear on the topics `models` and mouth on `control`: loads what is promoted, and says whether it can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lunapark_schemas::catalog::CatalogRecord;
use lunapark_schemas::control::{Alive, Answer, ControlRecord};
use lunapark_schemas::promotion::{Promotion, PromotionKind, PromotionStage};
use lunapark_schemas::{Messages, TopicPartition};
use lunapark_score::Kept;
use lunapark_topics::{Limit, Log, LogError, Topic, Writer};

use super::board::{SwapError, Switchboard};
use super::promotions::{PARTITION, promotion_of};
use crate::clock;
use crate::stop::Stop;

/// Between two signs of life. An instance of which none came for five of them is not waited for.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
const LIMIT: Limit = Limit { messages: 1024, bytes: 4 << 20 };
/// A promotion is seen after at most this.
const WAIT: Duration = Duration::from_millis(50);
/// A model that could not be loaded is tried again after so long; a log that fails, too.
const AGAIN: Duration = Duration::from_secs(2);
const FLUSH: Duration = Duration::from_secs(5);

/// The agent of one instance.
pub struct Agent {
    /// What it tells the stream threads.
    pub board: Arc<Switchboard>,
    /// Where promotions come from.
    pub models: Topic<CatalogRecord>,
    /// Where answers go.
    pub control: Topic<ControlRecord>,
    /// Stable instance name.
    pub instance: String,
    /// Which run of the instance this is: another one for each start.
    pub run: String,
    /// Set once the first sign of life is on `control`.
    pub spoken: Arc<AtomicBool>,
}

/// What one session has heard.
struct Heard {
    promotions: BTreeMap<u64, Promotion>,
    answered: BTreeSet<u64>,
    /// Models of promotions that are not decided yet.
    ready: BTreeMap<u64, Kept>,
    spoke: Instant,
    /// When a model that did not load is tried again.
    again: Instant,
}

impl Agent {
    /// Listens until a stop is asked for. No failure of it stops the scoring.
    pub fn run(&self, stop: &Stop) {
        while !stop.requested() {
            if let Err(error) = self.listen(stop) {
                tracing::warn!(%error, "cannot follow promotions; trying again");
                stop.wait(AGAIN);
            }
        }
        let (pipeline, instance, run) = self.who();
        let told = self
            .log()
            .announcer()
            .and_then(|mut writer| self.say(&mut *writer, &ControlRecord::Stopped { pipeline, instance, run }));
        tracing::debug!(?told, "said that this instance has stopped");
    }

    fn log(&self) -> &dyn Log {
        &*self.board.premises.log
    }

    fn listen(&self, stop: &Stop) -> Result<(), LogError> {
        let mut writer = self.log().announcer()?;
        self.alive(&mut *writer)?;
        self.spoken.store(true, Ordering::Release);
        let at = TopicPartition::new(self.models.name().clone(), PARTITION);
        let caught_up = self.log().watermarks(&at)?;
        let mut reader = self.log().reader(&[at.at(caught_up.low)])?;
        let now = Instant::now();
        let mut heard = Heard {
            promotions: BTreeMap::new(),
            answered: BTreeSet::new(),
            ready: BTreeMap::new(),
            spoke: now,
            again: now,
        };
        let mut messages = Messages::new();
        while !stop.requested() {
            messages.clear();
            reader.poll(&mut messages, LIMIT, WAIT)?;
            let promotions = messages.iter().filter_map(|message| promotion_of(message.value?));
            let ours = promotions.filter(|promotion| promotion.pipeline == self.board.premises.pipeline);
            heard.promotions.extend(ours.map(|promotion| (promotion.id, promotion)));
            // Of old promotions only the last ones matter.
            if reader.position(&at)? >= caught_up.high {
                self.act(&mut heard, &mut *writer)?;
            }
            if heard.spoke.elapsed() >= HEARTBEAT {
                self.alive(&mut *writer)?;
                heard.spoke = Instant::now();
            }
        }
        Ok(())
    }

    /// Results and shadows are two sides: a promotion of one does not overtake one of the other.
    fn act(&self, heard: &mut Heard, writer: &mut dyn Writer) -> Result<(), LogError> {
        [PromotionKind::Switch, PromotionKind::Shadow]
            .into_iter()
            .try_for_each(|side| self.act_on(side, heard, writer))?;
        let Heard { promotions, ready, .. } = heard;
        let decided = |id: &u64| promotions.get(id).is_none_or(|p| p.stage != PromotionStage::Announced);
        ready.retain(|id, _| !decided(id));
        Ok(())
    }

    fn act_on(&self, side: PromotionKind, heard: &mut Heard, writer: &mut dyn Writer) -> Result<(), LogError> {
        let ours = |promotion: &&Promotion| promotion.kind.shadows() == side.shadows();
        let last = |stage| heard.promotions.values().rev().filter(ours).find(|p| p.stage == stage).cloned();
        let (on, announced) = (last(PromotionStage::On), last(PromotionStage::Announced));
        let on_id = on.as_ref().map_or(0, |on| on.id);
        if let Some(on) = on.filter(|on| on.id > self.board.wanted_id(side) && Instant::now() >= heard.again) {
            match self.kept(&on, writer)? {
                Ok(kept) => self.board.want(on, kept),
                Err(error) => {
                    tracing::error!(promotion = on.id, %error, "cannot switch; partitions of this instance keep their model");
                    heard.again = Instant::now() + AGAIN;
                }
            }
        }
        if let Some(announced) = announced.filter(|a| a.id > on_id && !heard.answered.contains(&a.id)) {
            let loaded = self.load(&announced, writer)?;
            heard.ready.extend(loaded.as_ref().ok().map(|kept| (announced.id, kept.clone())));
            self.answer(&announced, loaded.err(), writer)?;
            heard.answered.insert(announced.id);
        }
        Ok(())
    }

    /// The model of a promotion that is on; the end of a shadow needs none.
    fn kept(&self, on: &Promotion, writer: &mut dyn Writer) -> Result<Result<Option<Kept>, SwapError>, LogError> {
        match on.kind {
            PromotionKind::ShadowEnd => Ok(Ok(None)),
            _ => Ok(self.load(on, writer)?.map(Some)),
        }
    }

    /// Loads beside the signs of life: a large model must not make the instance look dead.
    fn load(&self, promotion: &Promotion, writer: &mut dyn Writer) -> Result<Result<Kept, SwapError>, LogError> {
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| self.board.load_promoted(promotion));
            let mut spoke = Instant::now();
            while !loading.is_finished() {
                std::thread::park_timeout(Duration::from_millis(5));
                if spoke.elapsed() >= HEARTBEAT {
                    self.alive(writer)?;
                    spoke = Instant::now();
                }
            }
            Ok(loading.join().unwrap_or_else(|_| Err(self.board.panicked(promotion))))
        })
    }

    fn answer(&self, to: &Promotion, failed: Option<SwapError>, writer: &mut dyn Writer) -> Result<(), LogError> {
        let (pipeline, instance, run) = self.who();
        let reason = failed.as_ref().map(ToString::to_string).unwrap_or_default();
        let answer = Answer { pipeline, instance, run, promotion: to.id, reason };
        tracing::info!(promotion = to.id, model = to.model, version = to.version, failed = answer.reason, "answered");
        let record = if failed.is_some() { ControlRecord::CannotSwitch(answer) } else { ControlRecord::Ready(answer) };
        self.say(writer, &record)
    }

    fn alive(&self, writer: &mut dyn Writer) -> Result<(), LogError> {
        let (pipeline, instance, run) = self.who();
        self.say(writer, &ControlRecord::Alive(Alive { pipeline, instance, run, sent_at: clock::now_millis() }))
    }

    fn who(&self) -> (String, String, String) {
        (self.board.premises.pipeline.clone(), self.instance.clone(), self.run.clone())
    }

    fn say(&self, writer: &mut dyn Writer, record: &ControlRecord) -> Result<(), LogError> {
        writer.produce(&self.control.encode(record)?.record(None))?;
        writer.flush(FLUSH)
    }
}

//! The detector: sends events on a schedule of steady seconds and bursts, some too late, a few broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use lunapark_schemas::headers::{CE_EXPIRYTIME, CE_ID, MODEL};
use lunapark_schemas::{HeadersBuf, Record};
use lunapark_topics::{Log, Writer};

use super::sample::Sample;
use crate::clock;
use crate::stop::Stop;

/// Events per second between bursts.
const STEADY: f64 = 2_000.0;
/// Events per second in a burst.
const BURST: f64 = 20_000.0;
/// Every second begins with a burst of this length, as accelerator spills do.
const SPILL: Duration = Duration::from_millis(150);
/// One event in so many is past its expiry, and one in so many is broken; with no common factor, so that every kind of
/// broken event is also seen in time.
const LATE_ONE_IN: u64 = 101;
const BROKEN_ONE_IN: u64 = 250;
/// Events are handed over in portions this far apart.
const PORTION: Duration = Duration::from_millis(2);
/// How long the log may take to take a portion.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to send where.
pub struct Plan {
    /// For how long; `None` is until stopped.
    pub length: Option<Duration>,
    /// Topic of the events.
    pub topic: Arc<str>,
}

/// A running detector.
pub struct Detector {
    sent: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Detector {
    /// Starts to send.
    pub fn start(log: Arc<dyn Log>, sample: Arc<Sample>, plan: Plan, stop: Stop) -> anyhow::Result<Self> {
        let sent = Arc::new(AtomicU64::new(0));
        let count = sent.clone();
        let mut spill = Spill { writer: log.writer()?, sample, topic: plan.topic, headers: HeadersBuf::new(), next: 0 };
        let run = move || spill.run(plan.length, &stop, &count);
        Ok(Self { sent, thread: std::thread::Builder::new().name("detector".into()).spawn(run)? })
    }

    /// Events sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// True once the plan is carried out.
    pub fn finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// All events sent.
    pub fn join(self) -> anyhow::Result<u64> {
        self.thread.join().map_err(|_| anyhow!("the detector thread panicked"))?
    }
}

struct Spill {
    writer: Box<dyn Writer>,
    sample: Arc<Sample>,
    topic: Arc<str>,
    headers: HeadersBuf,
    next: u64,
}

/// Events due after so long: the integral of the rate.
fn due(elapsed: Duration) -> u64 {
    let (seconds, rest) = (elapsed.as_secs() as f64, elapsed.as_secs_f64().fract());
    let burst = SPILL.as_secs_f64();
    let per_second = burst * BURST + (1.0 - burst) * STEADY;
    (seconds * per_second + rest.min(burst) * BURST + (rest - burst).max(0.0) * STEADY) as u64
}

impl Spill {
    fn run(&mut self, length: Option<Duration>, stop: &Stop, sent: &AtomicU64) -> anyhow::Result<u64> {
        let started = Instant::now();
        while !stop.requested() && length.is_none_or(|length| started.elapsed() < length) {
            for number in self.next..due(started.elapsed()) {
                self.send(number)?;
            }
            self.writer.flush(PATIENCE)?;
            sent.store(self.next, Ordering::Relaxed);
            stop.wait(PORTION);
        }
        Ok(self.next)
    }

    /// One event; its timestamp is the time at which it was due.
    fn send(&mut self, number: u64) -> anyhow::Result<()> {
        let event = &self.sample.events[number as usize % self.sample.events.len()];
        let now = clock::now_millis();
        let key = number.to_string();
        self.headers.clear();
        self.headers.push_str(CE_ID, &key);
        if number % LATE_ONE_IN == LATE_ONE_IN - 1 {
            self.headers.push_str(CE_EXPIRYTIME, &clock::rfc3339(now - 1000));
        }
        let mut value = event.request.clone();
        if number % BROKEN_ONE_IN == BROKEN_ONE_IN - 1 {
            match number / BROKEN_ONE_IN % 6 {
                0 => value.truncate(value.len() / 2),
                1 => value = event.with_feature(27, None),
                2 => value = event.with_feature(5, Some("NaN")),
                3 => value = event.with_feature(3, Some("\"high\"")),
                4 => {
                    self.headers.push_str(MODEL, "no-such-model/7");
                }
                _ => value.clear(),
            }
        }
        let (key, value) = (Some(key.as_bytes()), Some(&value[..]));
        let (topic, headers) = (&self.topic, self.headers.view());
        self.writer.produce(&Record { topic, partition: None, key, value, headers, timestamp: Some(now) })?;
        self.next = number + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_the_integral_of_its_rates() {
        assert_eq!(due(Duration::ZERO), 0);
        assert_eq!(due(SPILL), 3_000);
        assert_eq!(due(Duration::from_secs(1)), 4_700);
        assert_eq!(due(Duration::from_millis(6_500)), 6 * 4_700 + 3_700);
    }
}

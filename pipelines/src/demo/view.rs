//! What the demo shows while it runs: a picture that is redrawn in a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::observer::{BINS, Observer};
use crate::cli::output::number;

/// Width of the longest histogram bar.
const BAR: usize = 28;

/// Draws on standard output.
pub struct View {
    live: bool,
    silent: bool,
    lines: usize,
}

impl View {
    /// A picture in a terminal, lines elsewhere, nothing beside JSON.
    pub fn new(json: bool) -> Self {
        Self { live: std::io::stdout().is_terminal() && !json, silent: json, lines: 0 }
    }

    /// Whether a picture is drawn.
    pub fn live(&self) -> bool {
        self.live
    }

    /// Draws the state of things.
    pub fn draw(&mut self, seen: &Observer, elapsed: Duration, sent: u64) -> anyhow::Result<()> {
        if self.silent {
            return Ok(());
        }
        let text = if self.live { self.picture(seen, elapsed, sent) } else { line(seen, elapsed, sent) };
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// The picture, which overwrites the one before.
    fn picture(&mut self, seen: &Observer, elapsed: Duration, sent: u64) -> String {
        let mut lines = vec![summary(seen, elapsed, sent), String::new()];
        lines.extend(histogram(&seen.bins));
        lines.push(String::new());
        lines.push(format!("dead letters  {}", reasons(seen)));
        let up = if self.lines > 0 { format!("\x1b[{}A", self.lines) } else { String::new() };
        self.lines = lines.len();
        // Each line is cleared to its end, so that a shorter one leaves nothing behind.
        up + &lines.iter().map(|line| format!("{line}\x1b[K\n")).collect::<String>()
    }
}

fn line(seen: &Observer, elapsed: Duration, sent: u64) -> String {
    format!("{}  dead {}\n", summary(seen, elapsed, sent), seen.dead_letters())
}

fn summary(seen: &Observer, elapsed: Duration, sent: u64) -> String {
    let per_second = seen.scored() as f64 / elapsed.as_secs_f64().max(0.001);
    format!(
        "{:4.1} s  sent {}  scored {}  {} events/s  latency p50 {:.0} ms p99 {:.0} ms  AUC {:.4}",
        elapsed.as_secs_f64(),
        number(sent),
        number(seen.scored()),
        number(per_second as u64),
        seen.latency_ms(0.5),
        seen.latency_ms(0.99),
        seen.auc_so_far(),
    )
}

/// Reasons and numbers of the dead letters.
pub fn reasons(seen: &Observer) -> String {
    seen.dead.iter().map(|(reason, n)| format!("{reason} {n}")).collect::<Vec<_>>().join("  ")
}

/// Signal to the right, background to the left of the score's axis.
pub fn histogram(bins: &[[u64; 2]; BINS]) -> Vec<String> {
    let most = bins.iter().flatten().copied().max().unwrap_or(0).max(1);
    let length = |n: u64| (n as usize * BAR).div_ceil(most as usize);
    let mut lines = vec![format!("{:>BAR$}  score  {}", "background", "signal")];
    lines.extend(bins.iter().enumerate().map(|(bin, [signal, background])| {
        let (left, right) = ("█".repeat(length(*background)), "█".repeat(length(*signal)));
        format!("{left:>BAR$}  {:5.2}  {right}", (bin as f64 + 0.5) / BINS as f64)
    }));
    lines
}

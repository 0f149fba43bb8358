//! `--if`: a promotion that decides by itself, from a comparison of the version with the live one.

mod expression;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use lunapark_schemas::promotion::{Promotion, PromotionKind};
use lunapark_stores::catalog::Catalog as _;
use serde_json::{Value, json};

use super::Context;
use super::compare::gather::{self, Compared};
use super::compare::{NAMES, OF_PAIRS, Scope};
use super::output::{self, Output, Table};
use super::time;
use crate::audit::scan;
use crate::catalog::TopicCatalog;
use crate::config::Config;
use crate::swap::promotions::Known;
use expression::{Clause, Expression};

/// Exit code of a promotion whose condition does not hold: 1 is a failure, 2 a wrong command line.
pub const NOT_HELD: u8 = 3;
/// What the catalog's own measures of a version begin with.
const METRICS: &str = "metrics.";
/// While more events are waited for, the topics are read again after at least so long.
const LEAST_PAUSE: Duration = Duration::from_millis(500);

/// When to promote, and what to judge by.
#[derive(Clone, Debug, clap::Args)]
pub struct Condition {
    /// Promote only where this holds of the version compared with the live one, as `models compare` tells it: "auc>=0.80
    /// and flipped<0.02"; metrics.NAME is the catalog's measure. Else exit with code 3, and nothing is announced
    #[arg(long = "if", value_name = "CONDITION")]
    condition: Option<Expression>,
    /// Wait until both versions have scored so many events; a canary, which scores others than the live version, so many of its
    /// own
    #[arg(long, value_name = "EVENTS", requires = "condition")]
    wait: Option<u64>,
    /// How long to wait for them
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time::parse_duration)]
    within: Duration,
    #[command(flatten)]
    scope: Scope,
}

/// The exit code where the condition keeps the version from being promoted.
pub fn stops(
    context: &Context,
    config: &Config,
    args: &Condition,
    (name, version): (&str, &str),
    out: &mut Output<'_>,
) -> anyhow::Result<Option<ExitCode>> {
    let Some(condition) = &args.condition else {
        return match args.scope.is_default() {
            true => Ok(None),
            false => bail!("--from, --to, --in and --labels say what --if compares: add --if"),
        };
    };
    let metrics = metrics(context, name, version)?;
    check_names(condition, &metrics)?;
    let models = [gather::live(context, config)?, format!("{name}/{version}")];
    let Waited { compared, apart, enough } = wait(context, &models, condition, args)?;
    let value = |name: &str| match name.strip_prefix(METRICS) {
        Some(metric) => metrics.get(metric).copied(),
        None => compared.value(name),
    };
    let held = enough && condition.holds(&value) == Some(true);
    let judged = Judged { compared: &compared, condition, apart, enough, wanted: args.wait, held };
    judged.tell(&value, out)?;
    Ok((!held).then(|| ExitCode::from(NOT_HELD)))
}

/// The catalog's measures; none of a version that it does not have.
fn metrics(context: &Context, name: &str, version: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let Ok(number) = version.parse() else { return Ok(BTreeMap::new()) };
    let catalog = TopicCatalog::new(context.log.clone(), &context.catalog);
    Ok(catalog.get(name, Some(number))?.map(|version| version.metrics).unwrap_or_default())
}

/// A name that nobody knows is a slip, and not a value that is missing.
fn check_names(condition: &Expression, metrics: &BTreeMap<String, f64>) -> anyhow::Result<()> {
    let known = |name: &str| match name.strip_prefix(METRICS) {
        Some(metric) => metrics.contains_key(metric),
        None => NAMES.iter().any(|(known, _)| *known == name),
    };
    let clauses = condition.clauses();
    let Some(unknown) = clauses.iter().flat_map(|clause| clause.names()).find(|name| !known(name)) else {
        return Ok(());
    };
    let names: Vec<String> = NAMES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = names.into_iter().chain(metrics.keys().map(|metric| format!("{METRICS}{metric}")));
    bail!("--if: there is no `{unknown}`; names are: {}", names.collect::<Vec<_>>().join(", "))
}

/// What was waited for.
struct Waited {
    compared: Compared,
    /// The versions score different events.
    apart: bool,
    /// There are as many events as were asked for.
    enough: bool,
}

/// Compares until there are enough events, none are to come, or the time is over.
fn wait(context: &Context, models: &[String; 2], condition: &Expression, args: &Condition) -> anyhow::Result<Waited> {
    let began = Instant::now();
    loop {
        let round = Instant::now();
        let apart = args.scope.topics.is_empty() && is_canary(&gather::known(context)?, &models[1]);
        let compared = gather::compare(context, models.clone(), &args.scope)
            .with_context(|| format!("--if: {} cannot be compared with {}", models[1], models[0]))?;
        if apart && !compared.paired() {
            check_pairs(condition, models)?;
        }
        let enough = args.wait.is_none_or(|events| compared.events(apart) >= events);
        // Of events that both have scored a canary makes no more.
        let in_vain = apart && compared.paired();
        if enough || in_vain || began.elapsed() >= args.within {
            return Ok(Waited { compared, apart, enough });
        }
        scan::pause_for(round.elapsed().max(LEAST_PAUSE).min(args.within));
    }
}

/// Whether this version scores as a canary, and not as a shadow besides: then no event is scored by it and by the live one.
fn is_canary(known: &Known, version: &str) -> bool {
    let scores = |shadows: bool, kind: PromotionKind| {
        let named = |promotion: &Promotion| format!("{}/{}", promotion.model, promotion.version) == version;
        known.live(shadows).is_some_and(|promotion| promotion.kind == kind && named(promotion))
    };
    scores(false, PromotionKind::Canary) && !scores(true, PromotionKind::Shadow)
}

/// What only events of both can tell is never known of a canary: to wait for it would be in vain.
fn check_pairs(condition: &Expression, [live, canary]: &[String; 2]) -> anyhow::Result<()> {
    let clauses = condition.clauses();
    let Some(name) = clauses.iter().flat_map(|clause| clause.names()).find(|name| OF_PAIRS.contains(name)) else {
        return Ok(());
    };
    let others = NAMES.iter().map(|(name, _)| *name).filter(|name| !OF_PAIRS.contains(name));
    bail!(
        "--if: `{name}` takes events that {canary} and {live} have both scored, and a canary scores others; ask for what does \
         without ({}), or let it score the same ones: `lunapark models shadow {canary} --share 0.2`, or `lunapark replay --model \
         {canary} --output TOPIC` and --in TOPIC",
        others.collect::<Vec<_>>().join(", ")
    )
}

/// A condition and what came of it.
struct Judged<'a> {
    compared: &'a Compared,
    condition: &'a Expression,
    apart: bool,
    enough: bool,
    wanted: Option<u64>,
    held: bool,
}

impl Judged<'_> {
    /// A line for each clause; programs get a document where nothing is promoted, and else that of the promotion.
    fn tell(&self, value: &impl Fn(&str) -> Option<f64>, out: &mut Output<'_>) -> anyhow::Result<()> {
        let [live, candidate] = &self.compared.models;
        if !out.json {
            let mut table = Table::new(&["condition", "values", "held"]);
            for clause in self.condition.clauses() {
                table.row(self.row(clause, value));
            }
            out.table(&table)?;
            out.flush()?;
        } else if !self.held {
            let clauses: Vec<Value> = self.condition.clauses().iter().map(|clause| json_of(clause, value)).collect();
            out.document(&json!({
                "promoted": null,
                "held": false,
                "model": candidate,
                "live": live,
                "events": self.compared.events(self.apart),
                "clauses": clauses,
            }))?;
        }
        if let (false, Some(wanted)) = (self.enough, self.wanted) {
            let events = self.compared.events(self.apart);
            output::note(format_args!("both have scored {events} events, --wait asks for {wanted}"));
            if self.apart && self.compared.paired() {
                output::note(format_args!(
                    "{candidate} is a canary now: it scores other events than {live}, so no more of both come; name a \
                     later --from to judge by its own, or let it score as a shadow besides"
                ));
            }
        }
        if !self.held {
            output::note(format_args!("{candidate} is not promoted: the condition does not hold against {live}"));
        }
        Ok(())
    }

    fn row(&self, clause: &Clause, value: &impl Fn(&str) -> Option<f64>) -> [String; 3] {
        let shown = |name: &str| match value(name) {
            Some(value) => format!("{name} = {value:.6}"),
            None => format!("{name} is not known"),
        };
        let values: Vec<String> = clause.names().into_iter().map(shown).collect();
        let held = match clause.holds(value) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not known",
        };
        [clause.to_string(), values.join(", "), held.to_owned()]
    }
}

fn json_of(clause: &Clause, value: &impl Fn(&str) -> Option<f64>) -> Value {
    let values: serde_json::Map<_, _> =
        clause.names().into_iter().map(|name| (name.to_owned(), json!(value(name)))).collect();
    json!({ "clause": clause.to_string(), "values": values, "held": clause.holds(value) })
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::promotion::PromotionStage;

    use super::*;

    #[test]
    fn a_canary_is_known_by_the_promotions_and_a_shadow_besides_makes_pairs() {
        let text = include_str!("../../../../schemas/examples/records/models/ok-promotion.json");
        let example = Promotion::read(text.as_bytes()).unwrap().unwrap();
        let named = format!("{}/{}", example.model, example.version);
        let mut known = Known::default();
        let mut promote = |id: u64, kind: PromotionKind| {
            let promotion = Promotion { id, kind, stage: PromotionStage::On, ..example.clone() };
            known.promotions.insert(id, promotion);
            is_canary(&known, &named)
        };
        assert!(!promote(1, PromotionKind::Switch));
        assert!(promote(2, PromotionKind::Canary));
        assert!(!promote(3, PromotionKind::Shadow));
        assert!(promote(4, PromotionKind::ShadowEnd));
        assert!(!promote(5, PromotionKind::Switch));
        promote(6, PromotionKind::Canary);
        assert!(!is_canary(&known, "another/1"));
    }

    #[test]
    fn what_a_canary_never_tells_is_refused_with_what_to_do() {
        let models = ["higgs/1", "higgs/2"].map(str::to_owned);
        let check = |text: &str| check_pairs(&text.parse().unwrap(), &models).map_err(|error| error.to_string());
        assert_eq!(check("auc >= 0.8 and rate_change < 0.1 and ks < 0.2 and metrics.auc > 0.7"), Ok(()));
        let error = check("auc >= 0.8 and flipped < 0.02").unwrap_err();
        for part in ["`flipped`", "higgs/2", "auc_difference", "models shadow higgs/2", "--in TOPIC"] {
            assert!(error.contains(part), "no {part} in {error}");
        }
        assert!(!error.contains("agreement"), "{error}");
    }

    #[test]
    fn a_name_that_nobody_knows_is_refused_with_all_that_are() {
        let metrics = BTreeMap::from([("auc".to_owned(), 0.8)]);
        let check = |text: &str| check_names(&text.parse().unwrap(), &metrics).map_err(|error| error.to_string());
        assert_eq!(check("auc > 0.8 and metrics.auc > 0.7 or not ks > rate_live"), Ok(()));
        for (text, name) in [("acu > 1", "`acu`"), ("metrics.rmse < 1", "`metrics.rmse`"), ("auc > inf", "`inf`")] {
            let error = check(text).unwrap_err();
            for part in [name, "flipped", "auc_difference", "metrics.auc"] {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
    }
}

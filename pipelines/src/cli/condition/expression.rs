//! Conditions over measures: comparisons of names and numbers, joined by `and`, `or`, `not` and parentheses.
//!
//! A name whose value is not known decides nothing: `false and unknown` is false, `true and unknown` is unknown
//! (Kleene's logic), and what is unknown in the end does not hold.

use std::fmt;
use std::str::FromStr;

/// Deeper parentheses than anyone writes; bounds the recursion.
const MAX_DEPTH: usize = 32;
/// Longer conditions than anyone writes.
const MAX_BYTES: usize = 4096;

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// All hold.
    All(Vec<Expression>),
    /// One holds.
    Any(Vec<Expression>),
    /// It does not hold.
    Not(Box<Expression>),
    /// A comparison.
    Clause(Clause),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    left: Operand,
    comparison: Comparison,
    right: Operand,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Number(f64),
    Name(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
    Other,
}

/// How they are written; the first of two that begin alike is the longer one.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("!=", Comparison::Other),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Number(number) => write!(f, "{number}"),
            Operand::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = COMPARISONS.iter().find(|(_, comparison)| *comparison == self.comparison);
        write!(f, "{} {} {}", self.left, sign.map_or("?", |(sign, _)| sign), self.right)
    }
}

impl Operand {
    fn value(&self, of: &impl Fn(&str) -> Option<f64>) -> Option<f64> {
        match self {
            Operand::Number(number) => Some(*number),
            Operand::Name(name) => of(name).filter(|value| !value.is_nan()),
        }
    }
}

impl Clause {
    /// Whether it holds; `None` where a value is not known.
    pub fn holds(&self, of: &impl Fn(&str) -> Option<f64>) -> Option<bool> {
        let (left, right) = (self.left.value(of)?, self.right.value(of)?);
        Some(match self.comparison {
            Comparison::Below => left < right,
            Comparison::AtMost => left <= right,
            Comparison::Above => left > right,
            Comparison::AtLeast => left >= right,
            Comparison::Equal => left == right,
            Comparison::Other => left != right,
        })
    }

    /// Names in it.
    pub fn names(&self) -> Vec<&str> {
        let operands = [&self.left, &self.right].into_iter();
        let names = operands.filter_map(|operand| match operand {
            Operand::Name(name) => Some(name.as_str()),
            Operand::Number(_) => None,
        });
        names.collect()
    }
}

impl Expression {
    /// Whether it holds; `None` where what is not known would decide.
    pub fn holds(&self, of: &impl Fn(&str) -> Option<f64>) -> Option<bool> {
        match self {
            Expression::All(parts) => all(parts.iter().map(|part| part.holds(of)), true),
            Expression::Any(parts) => all(parts.iter().map(|part| part.holds(of)), false),
            Expression::Not(part) => part.holds(of).map(|held| !held),
            Expression::Clause(clause) => clause.holds(of),
        }
    }

    /// Every comparison in it, from left to right.
    pub fn clauses(&self) -> Vec<&Clause> {
        match self {
            Expression::All(parts) | Expression::Any(parts) => parts.iter().flat_map(Expression::clauses).collect(),
            Expression::Not(part) => part.clauses(),
            Expression::Clause(clause) => vec![clause],
        }
    }
}

/// `neutral` where all are; the other where one is; unknown else.
fn all(parts: impl Iterator<Item = Option<bool>>, neutral: bool) -> Option<bool> {
    let mut known = true;
    for part in parts {
        match part {
            Some(held) if held != neutral => return Some(held),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(neutral)
}

impl FromStr for Expression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("the condition is longer than {MAX_BYTES} bytes"));
        }
        let mut parser = Parser { rest: text.trim_start(), depth: 0 };
        let expression = parser.any()?;
        match parser.rest {
            "" => Ok(expression),
            rest => Err(format!("`{rest}` where the condition should end, or `and` or `or` follow")),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

/// What a name or number is made of.
fn of_word(c: char) -> bool {
    c.is_alphanumeric() || "._-+".contains(c)
}

impl<'a> Parser<'a> {
    fn word(&self) -> &'a str {
        let end = self.rest.find(|c| !of_word(c)).unwrap_or(self.rest.len());
        &self.rest[..end]
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest[bytes..].trim_start();
    }

    fn take_word(&mut self, word: &str) -> bool {
        let there = self.word() == word;
        if there {
            self.skip(word.len());
        }
        there
    }

    fn any(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.all()?];
        while self.take_word("or") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.one()?];
        while self.take_word("and") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
    }

    fn one(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} parentheses and `not` in each other"));
        }
        let one = if self.take_word("not") {
            Expression::Not(Box::new(self.one()?))
        } else if self.rest.starts_with('(') {
            self.skip(1);
            let inner = self.any()?;
            if !self.rest.starts_with(')') {
                return Err(format!("a closing parenthesis is missing {}", self.place()));
            }
            self.skip(1);
            inner
        } else {
            Expression::Clause(self.clause()?)
        };
        self.depth -= 1;
        Ok(one)
    }

    fn clause(&mut self) -> Result<Clause, String> {
        let left = self.operand()?;
        let found = COMPARISONS.iter().find(|(sign, _)| self.rest.starts_with(sign));
        let Some((sign, comparison)) = found else {
            return Err(format!("`{left}` is compared with nothing: write < <= > >= == or != {}", self.place()));
        };
        self.skip(sign.len());
        Ok(Clause { left, comparison: *comparison, right: self.operand()? })
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let word = self.word();
        let operand = match word.parse::<f64>() {
            Ok(number) if number.is_finite() => Operand::Number(number),
            _ if matches!(word, "" | "and" | "or" | "not") => {
                return Err(format!("a name or a number is missing {}", self.place()));
            }
            _ if word.starts_with(|c: char| c.is_alphabetic()) => Operand::Name(word.to_owned()),
            _ => return Err(format!("`{word}` is neither a name nor a number")),
        };
        self.skip(word.len());
        Ok(operand)
    }

    fn place(&self) -> String {
        match self.rest {
            "" => "at the end".to_owned(),
            rest => format!("before `{rest}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: &str) -> Option<f64> {
        match name {
            "auc" => Some(0.81),
            "flipped" => Some(0.03),
            "metrics.log-loss" => Some(0.5),
            "unknown" => None,
            _ => Some(f64::NAN),
        }
    }

    fn holds(text: &str) -> Option<bool> {
        text.parse::<Expression>().unwrap().holds(&values)
    }

    #[test]
    fn conditions_hold_as_they_read() {
        for (text, expected) in [
            ("auc>=0.80 and flipped<0.02", false),
            ("auc >= 0.80 and flipped < 0.05", true),
            ("auc<0.5 or flipped==0.03", true),
            ("not auc < 0.5", true),
            ("not (auc > 0.5 or flipped > 0.5) or flipped != 3e-2", false),
            // `and` binds closer than `or`.
            ("auc > 0 or auc > 0 and auc > 1", true),
            ("0.5 <= auc", true),
            ("flipped <= -1", false),
            ("metrics.log-loss <= .5", true),
        ] {
            assert_eq!(holds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_decides_only_where_it_must() {
        assert_eq!([holds("unknown > 1"), holds("not unknown > 1"), holds("nan == nan")], [None; 3]);
        assert_eq!([holds("unknown > 1 and auc > 0.5"), holds("unknown > 1 or auc > 0.9")], [None; 2]);
        assert_eq!([holds("unknown > 1 and auc > 0.9"), holds("auc > 0.5 or unknown > 1")], [Some(false), Some(true)]);
    }

    #[test]
    fn clauses_are_shown_as_they_are_read() {
        let read: Expression = "not (auc>=0.80 and flipped<auc)".parse().unwrap();
        let shown: Vec<_> = read.clauses().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["auc >= 0.8", "flipped < auc"]);
        assert_eq!(read.clauses()[1].names(), ["flipped", "auc"]);
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_is_missing() {
        for (text, part) in [
            ("", "missing at the end"),
            ("auc", "compared with nothing"),
            ("auc >", "missing at the end"),
            ("auc > 0.8 flipped", "should end"),
            ("(auc > 0.8", "closing parenthesis"),
            ("auc => 0.8", "compared with nothing"),
            ("auc > 0.8.1", "neither a name nor a number"),
            ("auc > inf", "not a"),
            ("and auc > 1", "before `and auc"),
            ("auc > 0.8 and", "at the end"),
            ("auc & 1 > 2", "compared with nothing"),
        ] {
            match text.parse::<Expression>() {
                Err(error) => assert!(error.contains(part) || part == "not a", "{text}: {error}"),
                // `inf` is a name like any other: that nobody knows it is found when names are checked.
                Ok(read) => assert_eq!((part, read.clauses()[0].names()), ("not a", vec!["auc", "inf"]), "{text}"),
            }
        }
        let deep = format!("{}auc > 1{}", "(".repeat(100), ")".repeat(100));
        assert!(deep.parse::<Expression>().unwrap_err().contains("more than 32"));
        assert!("a".repeat(5000).parse::<Expression>().unwrap_err().contains("longer than"));
    }
}

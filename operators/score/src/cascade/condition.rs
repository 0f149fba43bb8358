//! Conditions: comparisons of sources with numbers and texts, joined by `and`, `or` and parentheses.

use std::cmp::Ordering;

/// Deeper parentheses than anyone writes; bounds the recursion.
const MAX_DEPTH: usize = 32;

/// A condition; `S` is what stands for a source.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition<S> {
    All(Vec<Condition<S>>),
    Any(Vec<Condition<S>>),
    Compare(Operand<S>, Comparison, Operand<S>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand<S> {
    Source(S),
    Whole(i64),
    Number(f64),
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
    Other,
}

/// A value that is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Whole(i64),
    Number(f64),
    Text(&'a str),
}

impl Comparison {
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "<" => Comparison::Below,
            "<=" => Comparison::AtMost,
            ">" => Comparison::Above,
            ">=" => Comparison::AtLeast,
            "==" => Comparison::Equal,
            "!=" => Comparison::Other,
            _ => return None,
        })
    }

    /// Whether it is fulfilled by operands in this order.
    fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Below => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Above => order.is_gt(),
            Comparison::AtLeast => order.is_ge(),
            Comparison::Equal => order.is_eq(),
            Comparison::Other => order.is_ne(),
        }
    }
}

impl<S> Condition<S> {
    /// Whether the condition holds; `value` gives a source's value, or nothing.
    pub(super) fn holds<'a>(&'a self, value: &impl Fn(&'a S) -> Option<Scalar<'a>>) -> bool {
        match self {
            Condition::All(parts) => parts.iter().all(|part| part.holds(value)),
            Condition::Any(parts) => parts.iter().any(|part| part.holds(value)),
            Condition::Compare(left, comparison, right) => {
                let order = left.value(value).zip(right.value(value)).and_then(|(left, right)| order(left, right));
                order.is_some_and(|order| comparison.holds(order))
            }
        }
    }

    /// The same condition over other sources.
    pub(super) fn map<T>(self, bind: &mut impl FnMut(S) -> Result<T, String>) -> Result<Condition<T>, String> {
        Ok(match self {
            Condition::All(parts) => Condition::All(map_all(parts, bind)?),
            Condition::Any(parts) => Condition::Any(map_all(parts, bind)?),
            Condition::Compare(left, comparison, right) => {
                Condition::Compare(left.map(bind)?, comparison, right.map(bind)?)
            }
        })
    }

    /// Every comparison in it.
    pub(super) fn comparisons(&self) -> Vec<(&Operand<S>, Comparison, &Operand<S>)> {
        match self {
            Condition::All(parts) | Condition::Any(parts) => parts.iter().flat_map(Condition::comparisons).collect(),
            Condition::Compare(left, comparison, right) => vec![(left, *comparison, right)],
        }
    }
}

fn map_all<S, T>(
    parts: Vec<Condition<S>>,
    bind: &mut impl FnMut(S) -> Result<T, String>,
) -> Result<Vec<Condition<T>>, String> {
    let mut mapped = Vec::with_capacity(parts.len());
    for part in parts {
        mapped.push(part.map(bind)?);
    }
    Ok(mapped)
}

impl<S> Operand<S> {
    pub(super) fn source(&self) -> Option<&S> {
        match self {
            Operand::Source(source) => Some(source),
            _ => None,
        }
    }

    fn value<'a>(&'a self, value: &impl Fn(&'a S) -> Option<Scalar<'a>>) -> Option<Scalar<'a>> {
        match self {
            Operand::Source(source) => value(source),
            Operand::Whole(whole) => Some(Scalar::Whole(*whole)),
            Operand::Number(number) => Some(Scalar::Number(*number)),
            Operand::Text(text) => Some(Scalar::Text(text)),
        }
    }

    fn map<T>(self, bind: &mut impl FnMut(S) -> Result<T, String>) -> Result<Operand<T>, String> {
        Ok(match self {
            Operand::Source(source) => Operand::Source(bind(source)?),
            Operand::Whole(whole) => Operand::Whole(whole),
            Operand::Number(number) => Operand::Number(number),
            Operand::Text(text) => Operand::Text(text),
        })
    }
}

/// NaN has no order, so it fulfils nothing.
fn order(left: Scalar<'_>, right: Scalar<'_>) -> Option<Ordering> {
    match (left, right) {
        (Scalar::Whole(left), Scalar::Whole(right)) => Some(left.cmp(&right)),
        (Scalar::Number(left), Scalar::Number(right)) => left.partial_cmp(&right),
        (Scalar::Whole(left), Scalar::Number(right)) => (left as f64).partial_cmp(&right),
        (Scalar::Number(left), Scalar::Whole(right)) => left.partial_cmp(&(right as f64)),
        (Scalar::Text(left), Scalar::Text(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// Reads a condition; sources are still names.
pub(super) fn parse(text: &str) -> Result<Condition<String>, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let condition = parser.any()?;
    match parser.tokens.get(parser.at) {
        None => Ok(condition),
        Some(token) => Err(format!("`{}` where the condition should end, or `and` or `or` follow", token.shown())),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Word(String),
    Quoted(String),
    Comparison(Comparison),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Token::Open => "(".to_owned(),
            Token::Close => ")".to_owned(),
            Token::Word(word) | Token::Quoted(word) => word.escape_debug().to_string(),
            Token::Comparison(comparison) => format!("{comparison:?}"),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '"' | '\'' | '`' => quoted(rest, first)?,
            '<' | '>' | '=' | '!' => {
                let length = 1 + usize::from(rest[1..].starts_with('='));
                let comparison = Comparison::of(&rest[..length]);
                let wrong = || format!("`{}` is no comparison; write < <= > >= == or !=", &rest[..length]);
                (Token::Comparison(comparison.ok_or_else(wrong)?), length)
            }
            _ => {
                let length = rest.find(|c: char| c.is_whitespace() || "()<>=!\"'`".contains(c)).unwrap_or(rest.len());
                (Token::Word(rest[..length].to_owned()), length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A text in quotes, or a name in back quotes; and its length with them.
fn quoted(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let inner = rest[1..].split_once(quote).map(|(inner, _)| inner.to_owned());
    let inner = inner.ok_or_else(|| format!("{quote} is not closed"))?;
    let length = inner.len() + 2;
    Ok((if quote == '`' { Token::Word(inner) } else { Token::Quoted(inner) }, length))
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn take_word(&mut self, word: &str) -> bool {
        let there = matches!(self.tokens.get(self.at), Some(Token::Word(found)) if found == word);
        self.at += usize::from(there);
        there
    }

    fn any(&mut self) -> Result<Condition<String>, String> {
        let mut parts = vec![self.all()?];
        while self.take_word("or") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Result<Condition<String>, String> {
        let mut parts = vec![self.one()?];
        while self.take_word("and") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn one(&mut self) -> Result<Condition<String>, String> {
        if self.tokens.get(self.at) != Some(&Token::Open) {
            return self.compare();
        }
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} parentheses in each other"));
        }
        let inner = self.any()?;
        self.depth -= 1;
        match self.next() {
            Some(Token::Close) => Ok(inner),
            _ => Err("a parenthesis is not closed".to_owned()),
        }
    }

    fn compare(&mut self) -> Result<Condition<String>, String> {
        let left = self.operand()?;
        let Some(Token::Comparison(comparison)) = self.next() else {
            return Err("a comparison (< <= > >= == !=) is missing".to_owned());
        };
        Ok(Condition::Compare(left, comparison, self.operand()?))
    }

    fn operand(&mut self) -> Result<Operand<String>, String> {
        match self.next() {
            Some(Token::Quoted(text)) => Ok(Operand::Text(text)),
            Some(Token::Word(word)) => Ok(match (word.parse(), word.parse::<f64>()) {
                (Ok(whole), _) => Operand::Whole(whole),
                // A name such as `inf` or `nan` is a source.
                (_, Ok(number)) if !word.starts_with(char::is_alphabetic) => Operand::Number(number),
                _ => Operand::Source(word),
            }),
            Some(token) => Err(format!("`{}` where a number, a text or a source belongs", token.shown())),
            None => Err("it ends where a number, a text or a source belongs".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let value = |name: &'static str| match name {
            "gate.p" => Some(Scalar::Number(0.25)),
            "gate.class" => Some(Scalar::Whole(2)),
            "gate.name" => Some(Scalar::Text("signal")),
            "nan" => Some(Scalar::Number(f64::NAN)),
            _ => None,
        };
        let condition = parse(text).unwrap().map(&mut |name: String| Ok(String::leak(name) as &'static str)).unwrap();
        condition.holds(&|name: &&'static str| value(name))
    }

    #[test]
    fn conditions_mean_what_they_say() {
        for yes in [
            "gate.p >= 0.25",
            "0.2<gate.p",
            "gate.p >= 0.5 or gate.class == 2",
            "gate.p > 0.5 and gate.p > 0.6 or gate.name == 'signal'",
            "gate.p > .1 and (gate.class == 1 or gate.class != 3)",
            "`gate.class` == 2.0",
            "gate.p > -1e3",
            "((gate.name != \"background\"))",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in [
            "gate.p > 0.25",
            "gate.class != 2",
            "gate.p > 0.5 and (gate.class == 2 or gate.class == 1)",
            "nan == nan",
            "nan != 1",
            "absent != 1",
            "gate.name == 2",
        ] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_condition_says_why() {
        for (text, why) in [
            ("", "it ends"),
            ("gate.p", "a comparison"),
            ("gate.p > ", "it ends"),
            ("gate.p > 0.5 gate.p < 1", "`gate.p` where"),
            ("(gate.p > 0.5", "not closed"),
            ("gate.p = 0.5", "no comparison"),
            ("gate.p == 'x", "not closed"),
            ("gate.p > )", "`)` where"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(parse(&format!("{}a > 1", "(".repeat(100_000))).unwrap_err().contains("parentheses"));
    }
}

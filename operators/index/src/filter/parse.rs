//! Text → expression. Length and depth are bounded, since both come from outside.

use super::{Comparison, Literal, Node};
use crate::IndexError;

const MAX_CHARACTERS: usize = 16_384;
/// Parentheses and NOTs in one another; each takes some room on the stack.
const MAX_DEPTH: usize = 64;
/// ANDs and ORs of one expression: each deepens the tree that is evaluated.
const MAX_NODES: usize = 256;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A name or a keyword.
    Word(String),
    /// A name in double quotes, never a keyword.
    Name(String),
    Text(String),
    Number(f64),
    Sign(&'static str),
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    end: usize,
    depth: usize,
    nodes: usize,
}

fn error(at: usize, why: impl Into<String>) -> IndexError {
    IndexError::Filter { at: at + 1, why: why.into() }
}

pub(super) fn parse(text: &str) -> Result<Node, IndexError> {
    let characters: Vec<char> = text.chars().take(MAX_CHARACTERS + 1).collect();
    if characters.len() > MAX_CHARACTERS {
        return Err(error(MAX_CHARACTERS, format!("a filter has at most {MAX_CHARACTERS} characters")));
    }
    let tokens = tokens(&characters)?;
    let mut parser = Parser { tokens, at: 0, end: characters.len(), depth: 0, nodes: 0 };
    let root = parser.or()?;
    match parser.tokens.get(parser.at) {
        None => Ok(root),
        Some((at, _)) => Err(error(*at, "the expression ends before this; join two with AND or OR")),
    }
}

fn tokens(characters: &[char]) -> Result<Vec<(usize, Token)>, IndexError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = characters.get(at) {
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let (token, length) = token(&characters[at..], at)?;
        tokens.push((at, token));
        at += length;
    }
    Ok(tokens)
}

fn token(rest: &[char], at: usize) -> Result<(Token, usize), IndexError> {
    const SIGNS: [&str; 12] = ["<=", ">=", "<>", "!=", "==", "=", "<", ">", "(", ")", ",", "."];
    let number = |c: char| c.is_ascii_digit() || ".eE+-".contains(c);
    match rest[0] {
        '\'' => quoted(rest, at).map(|(text, length)| (Token::Text(text), length)),
        '"' => quoted(rest, at).map(|(text, length)| (Token::Name(text), length)),
        c if c.is_alphabetic() || c == '_' => {
            let word: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            let length = word.chars().count();
            Ok((Token::Word(word), length))
        }
        c if c.is_ascii_digit() || (number(c) && rest.get(1).is_some_and(char::is_ascii_digit)) => {
            let text: String = rest.iter().take_while(|c| number(**c)).collect();
            let value = text.parse().ok().filter(|value: &f64| value.is_finite());
            let value = value.ok_or_else(|| error(at, format!("`{text}` is no number")))?;
            Ok((Token::Number(value), text.len()))
        }
        c => {
            let fits = |sign: &&&str| sign.chars().eq(rest.iter().take(sign.len()).copied());
            let sign = SIGNS.iter().find(fits).ok_or_else(|| error(at, format!("`{c}` has no meaning here")))?;
            Ok((Token::Sign(sign), sign.len()))
        }
    }
}

/// A text in quotes, of which two stand for one, and how many characters it takes.
fn quoted(rest: &[char], at: usize) -> Result<(String, usize), IndexError> {
    let quote = rest[0];
    let (mut text, mut place) = (String::new(), 1);
    loop {
        match (rest.get(place), rest.get(place + 1)) {
            (Some(&c), Some(&next)) if c == quote && next == quote => {
                text.push(quote);
                place += 2;
            }
            (Some(&c), _) if c == quote => return Ok((text, place + 1)),
            (Some(&c), _) => {
                text.push(c);
                place += 1;
            }
            (None, _) => return Err(error(at, format!("a closing {quote} is missing"))),
        }
    }
}

impl Parser {
    fn or(&mut self) -> Result<Node, IndexError> {
        let mut node = self.and()?;
        while self.keyword("OR") {
            self.count()?;
            node = Node::Or(Box::new(node), Box::new(self.and()?));
        }
        Ok(node)
    }

    fn and(&mut self) -> Result<Node, IndexError> {
        let mut node = self.not()?;
        while self.keyword("AND") {
            self.count()?;
            node = Node::And(Box::new(node), Box::new(self.not()?));
        }
        Ok(node)
    }

    fn not(&mut self) -> Result<Node, IndexError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.wrong(format!("more than {MAX_DEPTH} parentheses or NOTs in one another")));
        }
        self.depth += 1;
        let node = match self.keyword("NOT") {
            true => self.not().map(|node| Node::Not(Box::new(node))),
            false => self.primary(),
        };
        self.depth -= 1;
        node
    }

    fn primary(&mut self) -> Result<Node, IndexError> {
        if self.sign("(") {
            let node = self.or()?;
            self.expect(")")?;
            return Ok(node);
        }
        let field = self.field()?;
        self.predicate(field)
    }

    fn predicate(&mut self, field: Vec<String>) -> Result<Node, IndexError> {
        if self.keyword("IS") {
            let not = self.keyword("NOT");
            let null = self.keyword("NULL");
            return if null {
                Ok(negated(not, Node::IsNull(field)))
            } else {
                Err(self.wrong("after IS there must be NULL"))
            };
        }
        if let Some(comparison) = self.comparison() {
            return Ok(Node::Compare(field, comparison, self.literal()?));
        }
        let not = self.keyword("NOT");
        let node = match () {
            () if self.keyword("LIKE") => Node::Like(field, self.text()?),
            () if self.keyword("IN") => Node::In(field, self.list()?),
            () if self.keyword("BETWEEN") => self.between(field)?,
            () if not => return Err(self.wrong("after NOT there must be LIKE, IN or BETWEEN")),
            () => Node::True(field),
        };
        Ok(negated(not, node))
    }

    fn between(&mut self, field: Vec<String>) -> Result<Node, IndexError> {
        let low = Node::Compare(field.clone(), Comparison::GreaterOrEqual, self.literal()?);
        if !self.keyword("AND") {
            return Err(self.wrong("after BETWEEN and a value there must be AND"));
        }
        let high = Node::Compare(field, Comparison::LessOrEqual, self.literal()?);
        Ok(Node::And(Box::new(low), Box::new(high)))
    }

    fn list(&mut self) -> Result<Vec<Literal>, IndexError> {
        self.expect("(")?;
        let mut list = vec![self.literal()?];
        while self.sign(",") {
            list.push(self.literal()?);
        }
        self.expect(")")?;
        Ok(list)
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let found = match self.tokens.get(self.at)?.1 {
            Token::Sign("=" | "==") => Comparison::Equal,
            Token::Sign("!=" | "<>") => Comparison::NotEqual,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessOrEqual,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(found)
    }

    fn field(&mut self) -> Result<Vec<String>, IndexError> {
        let mut path = vec![self.name()?];
        while self.sign(".") {
            path.push(self.name()?);
        }
        Ok(path)
    }

    fn name(&mut self) -> Result<String, IndexError> {
        const KEYWORDS: [&str; 10] = ["AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "BETWEEN", "TRUE", "FALSE"];
        let keyword = |word: &str| KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword));
        let name = match self.tokens.get(self.at) {
            Some((_, Token::Word(word))) if !keyword(word) => word.clone(),
            Some((_, Token::Name(name))) => name.clone(),
            _ => return Err(self.wrong("here must be the name of a field; write it left of the comparison")),
        };
        self.at += 1;
        Ok(name)
    }

    fn literal(&mut self) -> Result<Literal, IndexError> {
        let literal = match self.tokens.get(self.at) {
            Some((_, Token::Text(text))) => Literal::Text(text.clone()),
            Some((_, Token::Number(number))) => Literal::Number(*number),
            Some((_, Token::Word(word))) if word.eq_ignore_ascii_case("true") => Literal::Truth(true),
            Some((_, Token::Word(word))) if word.eq_ignore_ascii_case("false") => Literal::Truth(false),
            Some((_, Token::Word(word))) if word.eq_ignore_ascii_case("null") => Literal::Null,
            _ => return Err(self.wrong("here must be a value: 'text' in single quotes, a number, TRUE, FALSE or NULL")),
        };
        self.at += 1;
        Ok(literal)
    }

    fn text(&mut self) -> Result<String, IndexError> {
        match self.tokens.get(self.at) {
            Some((_, Token::Text(text))) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => Err(self.wrong("after LIKE there must be a 'pattern' in single quotes")),
        }
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found =
            matches!(self.tokens.get(self.at), Some((_, Token::Word(word))) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some((_, Token::Sign(found))) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), IndexError> {
        if self.sign(sign) { Ok(()) } else { Err(self.wrong(format!("here must be `{sign}`"))) }
    }

    fn count(&mut self) -> Result<(), IndexError> {
        self.nodes += 1;
        match self.nodes <= MAX_NODES {
            true => Ok(()),
            false => Err(self.wrong(format!("more than {MAX_NODES} ANDs and ORs; use IN"))),
        }
    }

    fn wrong(&self, why: impl Into<String>) -> IndexError {
        error(self.tokens.get(self.at).map_or(self.end, |(at, _)| *at), why)
    }
}

fn negated(not: bool, node: Node) -> Node {
    if not { Node::Not(Box::new(node)) } else { node }
}

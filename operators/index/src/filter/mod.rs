//! Which documents count: SQL-like expressions over their metadata, `year >= 2020 AND author = 'x'`.
//!
//! ```text
//!   or         = and { OR and }                        and = not { AND not }        not = [NOT] primary
//!   primary    = ( or ) | field [ predicate ]          a field alone must be true
//!   predicate  = (= | == | != | <> | < | <= | > | >=) literal | [NOT] LIKE 'a%b_'
//!              | [NOT] IN ( literal, … ) | [NOT] BETWEEN literal AND literal | IS [NOT] NULL
//!   literal    = 'text, '' for a quote' | 12.5 | TRUE | FALSE | NULL
//!   field      = name | name.inner | "any name"
//! ```
//!
//! As in SQL, what is missing is neither equal nor unequal: `NOT (year = 2020)` does not let a document without a year
//! through. A text and a number are not compared either. Of a list, one element that fits is enough. Besides the
//! metadata there are `id`, `title` and `uri`, unless the metadata have such names of their own.

mod asks;
mod evaluate;
mod parse;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::IndexError;
pub use asks::{Asked, FieldKind};

/// An expression over the metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    root: Node,
}

impl Filter {
    /// Reads an expression; an error says at which character.
    pub fn parse(text: &str) -> Result<Self, IndexError> {
        parse::parse(text).map(|root| Self { root })
    }

    /// True where the document counts.
    pub(crate) fn matches(&self, fields: &Fields<'_>) -> bool {
        evaluate::evaluate(&self.root, fields) == Some(true)
    }
}

/// What a filter sees of a document.
pub(crate) struct Fields<'a> {
    pub(crate) metadata: &'a Map<String, Value>,
    pub(crate) id: &'a str,
    pub(crate) title: &'a str,
    pub(crate) uri: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Text(String),
    Number(f64),
    Truth(bool),
    Null,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Or(Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Not(Box<Node>),
    /// The field alone.
    True(Vec<String>),
    Compare(Vec<String>, Comparison, Literal),
    Like(Vec<String>, String),
    In(Vec<String>, Vec<Literal>),
    IsNull(Vec<String>),
}

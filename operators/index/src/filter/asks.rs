//! What a filter asks for, so that a slip of the pen can be told from an honest "none".

use super::{Filter, Literal, Node};

/// A kind of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldKind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// True or false.
    Truth,
}

/// A field that a filter looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Its name; of `name.inner` the first part.
    pub field: String,
    /// What it is compared with; none where any value will do.
    pub with: Option<FieldKind>,
}

impl Filter {
    /// Every field that it looks at, with each kind that it is compared with, once.
    pub fn asks(&self) -> Vec<Asked> {
        let mut asked = Vec::new();
        gather(&self.root, &mut asked);
        asked.sort();
        asked.dedup();
        asked
    }
}

fn gather(node: &Node, into: &mut Vec<Asked>) {
    let mut ask = |field: &[String], with: Option<FieldKind>| {
        let field = field.first().cloned().unwrap_or_default();
        into.push(Asked { field, with });
    };
    match node {
        Node::Or(a, b) | Node::And(a, b) => {
            gather(a, into);
            gather(b, into);
        }
        Node::Not(inner) => gather(inner, into),
        Node::True(field) => ask(field, Some(FieldKind::Truth)),
        Node::Compare(field, _, literal) => ask(field, kind(literal)),
        Node::Like(field, _) => ask(field, Some(FieldKind::Text)),
        Node::In(field, literals) => literals.iter().for_each(|literal| ask(field, kind(literal))),
        Node::IsNull(field) => ask(field, None),
    }
}

fn kind(literal: &Literal) -> Option<FieldKind> {
    match literal {
        Literal::Text(_) => Some(FieldKind::Text),
        Literal::Number(_) => Some(FieldKind::Number),
        Literal::Truth(_) => Some(FieldKind::Truth),
        Literal::Null => None,
    }
}

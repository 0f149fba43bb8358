//! lunapark

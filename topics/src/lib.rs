//! lunapark-topics

//! lunapark-score

//! lunapark-benches

//! lunapark-tests

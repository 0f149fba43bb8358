//! lunapark-stores

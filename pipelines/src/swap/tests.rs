//! Switching on the embedded log.

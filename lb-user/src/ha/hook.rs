//! Runs the operator's program when an instance moves.

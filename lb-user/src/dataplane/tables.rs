//! Writes and reads the tables, wherever their memory is.

//! The data plane in ordinary memory: the same tables, written by the same
//! writer, that can be told to fail.

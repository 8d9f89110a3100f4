//! Tables in ordinary memory: the host's side of [`Tables`].

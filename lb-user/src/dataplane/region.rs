//! Mapped memory of pinned maps.

//! A local copy of a range, kept fresh by updates.

//! Signals of a document's quality, and the rules that decide by them.

//! Words, sentences, lines and paragraphs of text.

//! Tokenizers: training and encoding.

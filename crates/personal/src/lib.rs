//! Personal data and secrets in text: finding, checking, replacing.

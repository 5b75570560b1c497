//! Text repair: mojibake, Unicode forms, control characters, widths, Chinese scripts.

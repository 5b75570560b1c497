//! Expectations of tables, outliers, and leakage of the label.

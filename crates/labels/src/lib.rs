//! Labels: likely errors, agreement of annotators, and what to label next.

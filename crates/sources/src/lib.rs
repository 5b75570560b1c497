//! Sources of data: where files lie, how they are packed, and what documents or rows stand in them.

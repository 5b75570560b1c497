//! Sketches of served traffic, one row per version and span of time. Their bodies are opaque here.

use serde_json::Value as Json;
use sqlx::Row as _;

use crate::Store;
use crate::error::StoreError;

/// A sketch as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSketch {
    /// The model's name.
    pub name: String,
    /// The version that answered.
    pub version: u32,
    /// The first request, in milliseconds since 1970.
    pub started_ms: i64,
    /// The last request, in milliseconds since 1970.
    pub ended_ms: i64,
    /// How many requests it sums up.
    pub requests: u64,
    /// The sketch.
    pub body: Json,
}

impl Store {
    /// Stores a sketch.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn add_sketch(&self, sketch: &StoredSketch) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO sketches (name, version, started_ms, ended_ms, requests, body) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&sketch.name)
        .bind(sketch.version)
        .bind(sketch.started_ms)
        .bind(sketch.ended_ms)
        .bind(i64::try_from(sketch.requests).unwrap_or(i64::MAX))
        .bind(sketch.body.to_string());
        self.database.wait(query.execute(self.database.pool()))?;
        Ok(())
    }

    /// The sketches of a version whose last request came after `since_ms`, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn sketches(&self, name: &str, version: u32, since_ms: i64) -> Result<Vec<StoredSketch>, StoreError> {
        let query = sqlx::query("SELECT * FROM sketches WHERE name = ? AND version = ? AND ended_ms > ? ORDER BY id")
            .bind(name)
            .bind(version)
            .bind(since_ms);
        let rows = self.database.wait(query.fetch_all(self.database.pool()))?;
        Ok(rows
            .iter()
            .map(|row| StoredSketch {
                name: row.get("name"),
                version,
                started_ms: row.get("started_ms"),
                ended_ms: row.get("ended_ms"),
                requests: u64::try_from(row.get::<i64, _>("requests")).unwrap_or(0),
                body: serde_json::from_str(row.get("body")).unwrap_or(Json::Null),
            })
            .collect())
    }
}

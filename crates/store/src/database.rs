//! The SQLite database: opening, migrating, and waiting for answers.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::error::StoreError;

/// One migration per version, in order; a released one is never changed.
const MIGRATIONS: [&str; 2] = ["
    CREATE TABLE artifacts (digest TEXT PRIMARY KEY, kind TEXT NOT NULL, size_bytes INTEGER NOT NULL, created_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE stages (key TEXT PRIMARY KEY, stage TEXT NOT NULL, artifact TEXT NOT NULL REFERENCES artifacts) STRICT;
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY, stage TEXT NOT NULL, key TEXT NOT NULL, status TEXT NOT NULL, seed INTEGER NOT NULL,
        config TEXT NOT NULL, process INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER,
        artifact TEXT REFERENCES artifacts, error TEXT) STRICT;
    CREATE TABLE run_inputs (run INTEGER NOT NULL REFERENCES runs, role TEXT NOT NULL, artifact TEXT NOT NULL, PRIMARY KEY (run, role)) STRICT;
    CREATE TABLE metrics (run INTEGER NOT NULL REFERENCES runs, name TEXT NOT NULL, step INTEGER NOT NULL, value REAL, PRIMARY KEY (run, name, step)) STRICT;
    CREATE TABLE versions (
        name TEXT NOT NULL, number INTEGER NOT NULL, artifact TEXT NOT NULL REFERENCES artifacts, created_ms INTEGER NOT NULL,
        metrics TEXT NOT NULL, PRIMARY KEY (name, number), UNIQUE (name, artifact)) STRICT;
    CREATE TABLE aliases (name TEXT NOT NULL, alias TEXT NOT NULL, version INTEGER NOT NULL, previous INTEGER, moved_ms INTEGER NOT NULL,
        PRIMARY KEY (name, alias), FOREIGN KEY (name, version) REFERENCES versions) STRICT;
    CREATE TABLE audit (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
    CREATE TABLE sketches (id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, requests INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
    CREATE INDEX runs_by_artifact ON runs (artifact);
    CREATE INDEX sketches_by_version ON sketches (name, version, ended_ms);
", "
    CREATE TABLE keys (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL,
        requests_per_minute INTEGER, tokens_per_minute INTEGER, tokens_total INTEGER, tokens_used INTEGER NOT NULL DEFAULT 0,
        created_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER) STRICT;
    CREATE UNIQUE INDEX keys_in_use ON keys (name) WHERE revoked_ms IS NULL;
"];

/// A connection pool, and the small runtime that waits for it, so that stages need not be async.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    pool: SqlitePool,
    runtime: tokio::runtime::Runtime,
}

impl Database {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StoreError::io("start a runtime for", path))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(20));
        let fail = |error| StoreError::Database { path: path.to_owned(), error };
        let pool = runtime.block_on(SqlitePoolOptions::new().max_connections(2).connect_with(options)).map_err(fail)?;
        let database = Self { path: path.to_owned(), pool, runtime };
        database.migrate()?;
        Ok(database)
    }

    /// Waits for a query. Must not be called on a thread that drives an async runtime.
    pub(crate) fn wait<T>(&self, query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        self.runtime.block_on(query).map_err(|error| StoreError::Database { path: self.path.clone(), error })
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    fn migrate(&self) -> Result<(), StoreError> {
        let found: i64 = self.wait(sqlx::query_scalar("PRAGMA user_version").fetch_one(&self.pool))?;
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        if found > known {
            return Err(StoreError::Newer { path: self.path.clone(), found, known });
        }
        for (index, migration) in MIGRATIONS.iter().enumerate().skip(usize::try_from(found).unwrap_or(0)) {
            self.wait(async {
                // A second process may migrate at the same moment, so the version is read again inside.
                let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
                let now: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
                if now <= i64::try_from(index).unwrap_or(0) {
                    sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
                    let set = format!("PRAGMA user_version = {}", index + 1);
                    sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *transaction).await?;
                }
                transaction.commit().await
            })?;
        }
        Ok(())
    }
}

impl Drop for Database {
    /// Closes the connections; the last one writes the log into the one file `yard.db`.
    fn drop(&mut self) {
        // Inside a runtime nothing may block; the log stays beside the file, which loses nothing.
        if tokio::runtime::Handle::try_current().is_err() {
            self.runtime.block_on(self.pool.close());
        }
    }
}

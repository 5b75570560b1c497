//! Runs, their metrics, and the lineage they make.

use base::Digest;
use serde::Serialize;
use serde_json::Value as Json;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::artifact::Artifact;
use crate::error::StoreError;
use crate::stage::StageKey;
use crate::{Store, now_ms};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Under way.
    Running,
    /// Ended with a result.
    Done,
    /// Ended with an error.
    Failed,
    /// Its result was refused by a gate.
    Refused,
    /// Stopped or killed; it continues from its last checkpoint.
    Interrupted,
}

impl RunStatus {
    /// The name as it stands in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
        }
    }

    fn read(name: &str) -> Self {
        [Self::Running, Self::Done, Self::Failed, Self::Refused]
            .into_iter()
            .find(|status| status.name() == name)
            .unwrap_or(Self::Interrupted)
    }
}

/// One execution of a stage.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Its number, from 1.
    pub id: i64,
    /// The stage.
    pub stage: String,
    /// The key of its result.
    pub key: String,
    /// How it stands.
    pub status: RunStatus,
    /// Its seed.
    pub seed: i64,
    /// Its settings.
    pub config: Json,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// What it made.
    pub artifact: Option<Digest>,
    /// Why it failed.
    pub error: Option<String>,
    /// What went in, by role.
    pub inputs: Vec<(String, Digest)>,
}

impl Run {
    /// How long it took; 0 while it is under way.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.ended_ms.map_or(0.0, |ended| (ended - self.started_ms) as f64 / 1000.0)
    }
}

/// One point of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricPoint {
    /// The metric.
    pub name: String,
    /// The step, from 0.
    pub step: i64,
    /// The value.
    pub value: f64,
}

impl Store {
    /// All runs, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn runs(&self, limit: u32) -> Result<Vec<Run>, StoreError> {
        let query = sqlx::query("SELECT * FROM runs ORDER BY id DESC LIMIT ?").bind(limit);
        let rows = self.database.wait(query.fetch_all(self.database.pool()))?;
        rows.iter().map(|row| self.read_run(row)).collect()
    }

    /// One run.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with the newest runs that there are.
    pub fn run(&self, id: i64) -> Result<Run, StoreError> {
        let query = sqlx::query("SELECT * FROM runs WHERE id = ?").bind(id);
        match self.database.wait(query.fetch_optional(self.database.pool()))? {
            Some(row) => self.read_run(&row),
            None => {
                let known = self.runs(5)?.iter().map(|run| format!("{} ({})", run.id, run.stage)).collect();
                Err(StoreError::NotFound { what: "run", name: id.to_string(), known })
            }
        }
    }

    /// The run that made an artifact.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn run_that_made(&self, artifact: Digest) -> Result<Option<Run>, StoreError> {
        let query = sqlx::query("SELECT * FROM runs WHERE artifact = ? ORDER BY id LIMIT 1").bind(artifact.to_string());
        let row = self.database.wait(query.fetch_optional(self.database.pool()))?;
        row.map(|row| self.read_run(&row)).transpose()
    }

    /// Every run behind an artifact, the artifact's own first: what made it, and what made that.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn lineage(&self, artifact: Digest) -> Result<Vec<Run>, StoreError> {
        let mut runs: Vec<Run> = Vec::new();
        let mut due = vec![artifact];
        while let Some(next) = due.pop() {
            if let Some(run) = self.run_that_made(next)?
                && !runs.iter().any(|known| known.id == run.id)
            {
                due.extend(run.inputs.iter().map(|(_, digest)| *digest));
                runs.push(run);
            }
        }
        Ok(runs)
    }

    /// The metrics of a run, by name and step.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn metrics(&self, run: i64) -> Result<Vec<MetricPoint>, StoreError> {
        let query = sqlx::query("SELECT name, step, value FROM metrics WHERE run = ? ORDER BY name, step").bind(run);
        let rows = self.database.wait(query.fetch_all(self.database.pool()))?;
        Ok(rows
            .iter()
            .map(|row| MetricPoint {
                name: row.get(0),
                step: row.get(1),
                value: row.get::<Option<f64>, _>(2).unwrap_or(f64::NAN),
            })
            .collect())
    }

    pub(crate) fn begin_run(&self, key: &StageKey) -> Result<i64, StoreError> {
        self.database.wait(async {
            let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await?;
            let id = sqlx::query(
                "INSERT INTO runs (stage, key, status, seed, config, process, started_ms) VALUES (?, ?, 'running', ?, ?, ?, ?)",
            )
            .bind(key.stage)
            .bind(key.digest().to_string())
            .bind(i64::try_from(key.seed).unwrap_or(i64::MAX))
            .bind(key.config.to_string())
            .bind(i64::from(std::process::id()))
            .bind(now_ms())
            .execute(&mut *transaction)
            .await?
            .last_insert_rowid();
            for (role, digest) in &key.inputs {
                sqlx::query("INSERT INTO run_inputs VALUES (?, ?, ?)")
                    .bind(id)
                    .bind(role)
                    .bind(digest.to_string())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
            Ok(id)
        })
    }

    pub(crate) fn end_run(
        &self,
        run: i64,
        status: RunStatus,
        artifact: Option<Digest>,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE runs SET status = ?, ended_ms = ?, artifact = ?, error = ? WHERE id = ?")
            .bind(status.name())
            .bind(now_ms())
            .bind(artifact.map(|digest| digest.to_string()))
            .bind(error)
            .bind(run);
        self.database.wait(query.execute(self.database.pool()))?;
        Ok(())
    }

    /// Records the artifact, the stage's result and the end of the run, in one transaction.
    pub(crate) fn finish_stage(
        &self,
        key: &StageKey,
        run: i64,
        artifact: &Artifact,
        ended_ms: i64,
    ) -> Result<(), StoreError> {
        let digest = artifact.digest.to_string();
        self.database.wait(async {
            let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("INSERT OR IGNORE INTO artifacts VALUES (?, ?, ?, ?)")
                .bind(&digest)
                .bind(&artifact.kind)
                .bind(i64::try_from(artifact.size_bytes()).unwrap_or(i64::MAX))
                .bind(ended_ms)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("INSERT OR REPLACE INTO stages VALUES (?, ?, ?)")
                .bind(key.digest().to_string())
                .bind(key.stage)
                .bind(&digest)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("UPDATE runs SET status = 'done', ended_ms = ?, artifact = ? WHERE id = ?")
                .bind(ended_ms)
                .bind(&digest)
                .bind(run)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        })
    }

    pub(crate) fn record_metrics(&self, run: i64, points: &[(String, i64, f64)]) -> Result<(), StoreError> {
        if points.is_empty() {
            return Ok(());
        }
        self.database.wait(async {
            let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await?;
            for (name, step, value) in points {
                // A resumed run may pass a step again; the newer value stands.
                sqlx::query("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?)")
                    .bind(run)
                    .bind(name)
                    .bind(step)
                    .bind(value.is_finite().then_some(*value))
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        })
    }

    pub(crate) fn stage_result(&self, key: &Digest) -> Result<Option<Digest>, StoreError> {
        let query = sqlx::query_scalar::<_, String>("SELECT artifact FROM stages WHERE key = ?").bind(key.to_string());
        let found = self.database.wait(query.fetch_optional(self.database.pool()))?;
        Ok(found.and_then(|text| text.parse().ok()))
    }

    pub(crate) fn run_of_key(&self, key: &Digest) -> Result<Option<Run>, StoreError> {
        let query = sqlx::query("SELECT * FROM runs WHERE key = ? AND status = 'done' ORDER BY id DESC LIMIT 1")
            .bind(key.to_string());
        let row = self.database.wait(query.fetch_optional(self.database.pool()))?;
        row.map(|row| self.read_run(&row)).transpose()
    }

    pub(crate) fn artifacts(&self) -> Result<Vec<Digest>, StoreError> {
        let query = sqlx::query_scalar::<_, String>("SELECT digest FROM artifacts");
        let found = self.database.wait(query.fetch_all(self.database.pool()))?;
        Ok(found.iter().filter_map(|text| text.parse().ok()).collect())
    }

    pub(crate) fn forget_stage_results(&self, artifact: Digest) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM stages WHERE artifact = ?").bind(artifact.to_string());
        self.database.wait(query.execute(self.database.pool()))?;
        Ok(())
    }

    pub(crate) fn interrupt_dead_runs(&self) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE runs SET status = 'interrupted', ended_ms = ?, error = 'the process died' WHERE status = 'running'",
        )
        .bind(now_ms());
        self.database.wait(query.execute(self.database.pool()))?;
        Ok(())
    }

    fn read_run(&self, row: &SqliteRow) -> Result<Run, StoreError> {
        let id: i64 = row.get("id");
        let query = sqlx::query("SELECT role, artifact FROM run_inputs WHERE run = ? ORDER BY rowid").bind(id);
        let inputs = self.database.wait(query.fetch_all(self.database.pool()))?;
        Ok(Run {
            id,
            stage: row.get("stage"),
            key: row.get("key"),
            status: RunStatus::read(row.get("status")),
            seed: row.get("seed"),
            config: serde_json::from_str(row.get("config")).unwrap_or(Json::Null),
            started_ms: row.get("started_ms"),
            ended_ms: row.get("ended_ms"),
            artifact: row.get::<Option<String>, _>("artifact").and_then(|text| text.parse().ok()),
            error: row.get("error"),
            inputs: inputs.iter().filter_map(|row| Some((row.get(0), row.get::<String, _>(1).parse().ok()?))).collect(),
        })
    }
}

//! Versions, aliases and the audit log.

use base::Digest;
use base::version::{Pointer, VersionName};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::error::StoreError;
use crate::{Store, now_ms};

/// A registered model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Version {
    /// The model's name.
    pub name: String,
    /// The version's number, from 1.
    pub number: u32,
    /// The model artifact.
    pub artifact: Digest,
    /// When it was registered, in milliseconds since 1970.
    pub created_ms: i64,
    /// Its metrics on the test split, by name.
    pub metrics: Json,
}

/// A movable pointer to a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alias {
    /// The model's name.
    pub name: String,
    /// The alias, such as `champion`.
    pub alias: String,
    /// The version it points to.
    pub version: u32,
    /// The version it pointed to before.
    pub previous: Option<u32>,
    /// When it was moved, in milliseconds since 1970.
    pub moved_ms: i64,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditEntry {
    /// Its number.
    pub id: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who: the user's name on the machine.
    pub actor: String,
    /// What was done: `register`, `promote`, `rollback`.
    pub action: String,
    /// To what: `name@2`.
    pub subject: String,
    /// With what particulars.
    pub detail: Json,
}

impl Store {
    /// Registers a model artifact as the next version of a name. The same artifact keeps the version
    /// it has.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn register(&self, name: &str, artifact: Digest, metrics: &Json, actor: &str) -> Result<Version, StoreError> {
        self.database.wait(async {
            let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await?;
            let known: Option<i64> = sqlx::query_scalar("SELECT number FROM versions WHERE name = ? AND artifact = ?")
                .bind(name)
                .bind(artifact.to_string())
                .fetch_optional(&mut *transaction)
                .await?;
            if known.is_none() {
                let number: i64 =
                    sqlx::query_scalar("SELECT coalesce(max(number), 0) + 1 FROM versions WHERE name = ?")
                        .bind(name)
                        .fetch_one(&mut *transaction)
                        .await?;
                sqlx::query("INSERT INTO versions VALUES (?, ?, ?, ?, ?)")
                    .bind(name)
                    .bind(number)
                    .bind(artifact.to_string())
                    .bind(now_ms())
                    .bind(metrics.to_string())
                    .execute(&mut *transaction)
                    .await?;
                let detail = json!({ "artifact": artifact, "metrics": metrics });
                audit(&mut transaction, actor, "register", &format!("{name}@{number}"), &detail).await?;
            }
            transaction.commit().await
        })?;
        let versions = self.versions(name)?;
        versions.into_iter().find(|version| version.artifact == artifact).ok_or_else(|| StoreError::NotFound {
            what: "version of",
            name: name.to_owned(),
            known: Vec::new(),
        })
    }

    /// All versions of a name, the oldest first; of every name where it is empty.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn versions(&self, name: &str) -> Result<Vec<Version>, StoreError> {
        let query = sqlx::query("SELECT * FROM versions WHERE name = ?1 OR ?1 = '' ORDER BY name, number").bind(name);
        let rows = self.database.wait(query.fetch_all(self.database.pool()))?;
        Ok(rows.iter().filter_map(read_version).collect())
    }

    /// The version that a name points to.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with what there is instead.
    pub fn version(&self, name: &VersionName) -> Result<Version, StoreError> {
        let number = match &name.pointer {
            Pointer::Number(number) => Some(*number),
            Pointer::Alias(alias) => self.alias(&name.name, alias)?.map(|alias| alias.version),
        };
        let versions = self.versions(&name.name)?;
        let known = if versions.is_empty() { self.versions("")? } else { versions.clone() };
        versions.into_iter().find(|version| Some(version.number) == number).ok_or_else(|| StoreError::NotFound {
            what: "version",
            name: name.to_string(),
            known: known.iter().map(|version| format!("{}@{}", version.name, version.number)).collect(),
        })
    }

    /// All aliases of a name; of every name where it is empty.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn aliases(&self, name: &str) -> Result<Vec<Alias>, StoreError> {
        let query = sqlx::query("SELECT * FROM aliases WHERE name = ?1 OR ?1 = '' ORDER BY name, alias").bind(name);
        let rows = self.database.wait(query.fetch_all(self.database.pool()))?;
        Ok(rows.iter().map(read_alias).collect())
    }

    /// One alias of a name.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn alias(&self, name: &str, alias: &str) -> Result<Option<Alias>, StoreError> {
        Ok(self.aliases(name)?.into_iter().find(|one| one.alias == alias))
    }

    /// Points an alias to a version, in one transaction with its entry in the audit log. The version
    /// it pointed to becomes `previous`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the version does not exist.
    pub fn move_alias(
        &self,
        name: &str,
        alias: &str,
        version: u32,
        actor: &str,
        action: &str,
        detail: &Json,
    ) -> Result<Alias, StoreError> {
        let exact = VersionName { name: name.to_owned(), pointer: Pointer::Number(version) };
        self.version(&exact)?;
        self.database.wait(async {
            let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await?;
            let before: Option<i64> = sqlx::query_scalar("SELECT version FROM aliases WHERE name = ? AND alias = ?")
                .bind(name)
                .bind(alias)
                .fetch_optional(&mut *transaction)
                .await?;
            if before != Some(i64::from(version)) {
                sqlx::query("INSERT OR REPLACE INTO aliases VALUES (?, ?, ?, ?, ?)")
                    .bind(name)
                    .bind(alias)
                    .bind(version)
                    .bind(before)
                    .bind(now_ms())
                    .execute(&mut *transaction)
                    .await?;
                let detail = json!({ "alias": alias, "from": before, "to": version, "detail": detail });
                audit(&mut transaction, actor, action, &exact.to_string(), &detail).await?;
            }
            transaction.commit().await
        })?;
        self.alias(name, alias)?.ok_or_else(|| StoreError::NotFound {
            what: "alias",
            name: format!("{name}@{alias}"),
            known: Vec::new(),
        })
    }

    /// The audit log, the newest first, at most `limit` entries.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn audit_log(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let query = sqlx::query("SELECT * FROM audit ORDER BY id DESC LIMIT ?").bind(limit);
        let rows = self.database.wait(query.fetch_all(self.database.pool()))?;
        Ok(rows
            .iter()
            .map(|row| AuditEntry {
                id: row.get("id"),
                at_ms: row.get("at_ms"),
                actor: row.get("actor"),
                action: row.get("action"),
                subject: row.get("subject"),
                detail: serde_json::from_str(row.get("detail")).unwrap_or(Json::Null),
            })
            .collect())
    }

    /// Adds an entry to the audit log, for what is not an alias's move (a refused promotion, say).
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn note_audit(&self, actor: &str, action: &str, subject: &str, detail: &Json) -> Result<(), StoreError> {
        self.database.wait(async {
            let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await?;
            audit(&mut transaction, actor, action, subject, detail).await?;
            transaction.commit().await
        })
    }
}

pub(crate) async fn audit(
    transaction: &mut sqlx::SqliteTransaction<'_>,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &Json,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO audit (at_ms, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(now_ms())
        .bind(actor)
        .bind(action)
        .bind(subject)
        .bind(detail.to_string())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

fn read_version(row: &SqliteRow) -> Option<Version> {
    Some(Version {
        name: row.get("name"),
        number: u32::try_from(row.get::<i64, _>("number")).ok()?,
        artifact: row.get::<String, _>("artifact").parse().ok()?,
        created_ms: row.get("created_ms"),
        metrics: serde_json::from_str(row.get("metrics")).unwrap_or(Json::Null),
    })
}

fn read_alias(row: &SqliteRow) -> Alias {
    let number = |name: &str| row.get::<Option<i64>, _>(name).and_then(|number| u32::try_from(number).ok());
    Alias {
        name: row.get("name"),
        alias: row.get("alias"),
        version: number("version").unwrap_or(0),
        previous: number("previous"),
        moved_ms: row.get("moved_ms"),
    }
}

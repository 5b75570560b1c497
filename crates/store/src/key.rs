//! The keys that clients of a server show: their secrets as hashes, what each may do, and how much.
//!
//! A secret is 32 bytes from the system's generator, so a plain SHA-256 of it cannot be turned back by
//! trying; nothing slower is needed, as it would be for passwords that people choose.

use std::fmt;
use std::str::FromStr;

use base::Digest;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::error::StoreError;
use crate::registry::audit;
use crate::{Store, now_ms};

/// What every secret begins with, so that scanners of source code find those that leaked.
const PREFIX: &str = "yard-";
const MS_PER_DAY: i64 = 24 * 3600 * 1000;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Predictions, completions, embeddings, and what describes the models.
    Infer,
    /// Reading `/metrics`, and nothing else.
    Metrics,
    /// Everything.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Infer, Self::Metrics, Self::Admin];

    /// The name, as it is typed and stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text.trim());
        found.ok_or_else(|| format!("there is no scope {text:?}; there are infer, metrics and admin"))
    }
}

/// How much a key may be used; `None` is without a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct KeyLimits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens read and generated in a minute.
    pub tokens_per_minute: Option<u32>,
    /// Tokens read and generated in the key's whole life.
    pub tokens_total: Option<u64>,
}

/// A key to make.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its name, in the access log and to revoke it by.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// How much.
    pub limits: KeyLimits,
    /// After how many days it ends.
    pub expires_days: Option<u32>,
}

/// A key as it is stored. The secret is not: only its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its number, which no other key ever has.
    pub id: i64,
    /// Its name; one that was revoked may give its name to another.
    pub name: String,
    /// The SHA-256 of the secret.
    #[serde(skip)]
    pub hash: Digest,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// How much.
    pub limits: KeyLimits,
    /// Tokens it was charged for, up to the last second or so.
    pub tokens_used: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it ends.
    pub expires_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
}

impl Key {
    /// Whether it opens anything at this time.
    #[must_use]
    pub fn is_valid(&self, now_ms: i64) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|expires| now_ms < expires)
    }

    /// Whether it may be used for this; an admin's key may be used for everything.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// A key's secret: shown once, never stored.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A secret from the system's generator.
    ///
    /// # Errors
    /// [`StoreError::Random`] where the system has no generator.
    pub fn generate() -> Result<Self, StoreError> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(|error| StoreError::Random { message: error.to_string() })?;
        // `Digest` writes 32 bytes as hexadecimal digits; nothing is hashed here.
        Ok(Self(format!("{PREFIX}{}", Digest::from(bytes))))
    }

    /// The text to show, this once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Store {
    /// Makes a key, and gives its secret, which cannot be had again.
    ///
    /// # Errors
    /// [`StoreError::KeyExists`] when a key of this name is in use; [`StoreError::KeyName`] for a name
    /// that cannot be one.
    pub fn create_key(&self, new: &NewKey, actor: &str) -> Result<(Key, Secret), StoreError> {
        if !base::version::is_name(&new.name) {
            return Err(StoreError::KeyName { name: new.name.clone() });
        }
        let secret = Secret::generate()?;
        let now = now_ms();
        let mut scopes = new.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        let names: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        let expires = new.expires_days.map(|days| now.saturating_add(i64::from(days) * MS_PER_DAY));
        let made = self.database.wait(async {
            let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await?;
            let query = sqlx::query(
                "INSERT INTO keys (name, hash, scopes, requests_per_minute, tokens_per_minute, tokens_total, created_ms, expires_ms)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            );
            let made = query
                .bind(&new.name)
                .bind(secret.hash().to_string())
                .bind(names.join(","))
                .bind(new.limits.requests_per_minute)
                .bind(new.limits.tokens_per_minute)
                .bind(new.limits.tokens_total.map(signed))
                .bind(now)
                .bind(expires)
                .execute(&mut *transaction)
                .await?;
            if made.rows_affected() > 0 {
                let detail = json!({ "scopes": names, "limits": new.limits, "expires_ms": expires });
                audit(&mut transaction, actor, "create key", &new.name, &detail).await?;
            }
            transaction.commit().await?;
            Ok(made.rows_affected() > 0)
        })?;
        let key = self.keys()?.into_iter().find(|key| made && key.hash == secret.hash());
        key.map(|key| (key, secret)).ok_or_else(|| StoreError::KeyExists { name: new.name.clone() })
    }

    /// All keys that were ever made, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn keys(&self) -> Result<Vec<Key>, StoreError> {
        let query = sqlx::query("SELECT * FROM keys ORDER BY id");
        let rows = self.database.wait(query.fetch_all(self.database.pool()))?;
        Ok(rows.iter().filter_map(read_key).collect())
    }

    /// Ends a key for ever. Servers that run notice within a second.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when no key of this name is in use.
    pub fn revoke_key(&self, name: &str, actor: &str) -> Result<(), StoreError> {
        let revoked = self.database.wait(async {
            let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await?;
            let revoked = sqlx::query("UPDATE keys SET revoked_ms = ? WHERE name = ? AND revoked_ms IS NULL")
                .bind(now_ms())
                .bind(name)
                .execute(&mut *transaction)
                .await?;
            if revoked.rows_affected() > 0 {
                audit(&mut transaction, actor, "revoke key", name, &json!({})).await?;
            }
            transaction.commit().await?;
            Ok(revoked.rows_affected())
        })?;
        if revoked > 0 {
            return Ok(());
        }
        let known = self.keys()?.into_iter().filter(|key| key.revoked_ms.is_none()).map(|key| key.name).collect();
        Err(StoreError::NotFound { what: "the key", name: name.to_owned(), known })
    }

    /// Adds tokens to what keys have used, by the keys' numbers.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses; then none were added.
    pub fn charge_keys(&self, tokens: &[(i64, u64)]) -> Result<(), StoreError> {
        self.database.wait(async {
            let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await?;
            for (id, tokens) in tokens {
                sqlx::query("UPDATE keys SET tokens_used = tokens_used + ? WHERE id = ?")
                    .bind(signed(*tokens))
                    .bind(id)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        })
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A row that cannot be read opens nothing.
fn read_key(row: &SqliteRow) -> Option<Key> {
    let small = |name: &str| row.get::<Option<i64>, _>(name).and_then(|number| u32::try_from(number).ok());
    let large = |number: i64| u64::try_from(number).unwrap_or(0);
    let scopes = row.get::<String, _>("scopes");
    Some(Key {
        id: row.get("id"),
        name: row.get("name"),
        hash: row.get::<String, _>("hash").parse().ok()?,
        scopes: scopes.split(',').filter_map(|scope| scope.parse().ok()).collect(),
        limits: KeyLimits {
            requests_per_minute: small("requests_per_minute"),
            tokens_per_minute: small("tokens_per_minute"),
            tokens_total: row.get::<Option<i64>, _>("tokens_total").map(large),
        },
        tokens_used: large(row.get("tokens_used")),
        created_ms: row.get("created_ms"),
        expires_ms: row.get("expires_ms"),
        revoked_ms: row.get("revoked_ms"),
    })
}

#[cfg(test)]
mod tests {
    use base::Failure;

    use super::*;

    fn new(name: &str) -> NewKey {
        let limits = KeyLimits { requests_per_minute: Some(3), tokens_per_minute: None, tokens_total: Some(1 << 40) };
        NewKey {
            name: name.to_owned(),
            scopes: vec![Scope::Metrics, Scope::Infer, Scope::Infer],
            limits,
            expires_days: Some(2),
        }
    }

    fn open() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    #[test]
    fn a_secret_is_shown_once_and_stored_as_its_hash() {
        let (folder, store) = open();
        let (key, secret) = store.create_key(&new("app"), "me").unwrap();
        assert_eq!(store.keys().unwrap(), std::slice::from_ref(&key));
        assert_eq!(key.scopes, [Scope::Infer, Scope::Metrics]);
        assert_eq!(key.limits, new("app").limits);
        assert_eq!(key.hash, Digest::of(secret.reveal().as_bytes()));
        assert!(secret.reveal().starts_with("yard-") && secret.reveal().len() == 69, "{}", secret.reveal());
        assert_ne!(secret.reveal(), store.create_key(&new("other"), "me").unwrap().1.reveal());
        assert!(!format!("{secret:?}").contains(secret.reveal()));
        assert!(key.allows(Scope::Infer) && !key.allows(Scope::Admin));
        assert!(key.is_valid(key.created_ms + 2 * MS_PER_DAY - 1) && !key.is_valid(key.created_ms + 2 * MS_PER_DAY));
        drop(store);
        for entry in std::fs::read_dir(folder.path().join(".yard")).unwrap() {
            let path = entry.unwrap().path();
            let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            let needle = secret.reveal().as_bytes();
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{}", path.display());
        }
    }

    #[test]
    fn a_revoked_key_gives_its_name_free_and_stays_on_record() {
        let (_folder, store) = open();
        let (first, _) = store.create_key(&new("app"), "me").unwrap();
        assert!(matches!(store.create_key(&new("app"), "me"), Err(StoreError::KeyExists { .. })));
        store.revoke_key("app", "me").unwrap();
        let error = store.revoke_key("app", "me").unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }) && error.hint().is_some());
        let (second, _) = store.create_key(&new("app"), "me").unwrap();
        let keys = store.keys().unwrap();
        assert_eq!((keys[0].id, keys[1].id), (first.id, second.id));
        assert!(!keys[0].is_valid(now_ms()) && keys[1].is_valid(now_ms()));
        let actions: Vec<String> = store.audit_log(9).unwrap().into_iter().map(|entry| entry.action).collect();
        assert_eq!(actions, ["create key", "revoke key", "create key"]);
        assert!(matches!(store.create_key(&new("no name"), "me"), Err(StoreError::KeyName { .. })));
    }

    #[test]
    fn charges_add_up() {
        let (_folder, store) = open();
        let (key, _) = store.create_key(&new("app"), "me").unwrap();
        store.charge_keys(&[(key.id, 5), (key.id, 6), (999, 1)]).unwrap();
        assert_eq!(store.keys().unwrap()[0].tokens_used, 11);
    }
}

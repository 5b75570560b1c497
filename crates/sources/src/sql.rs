//! Tables of SQLite and PostgreSQL by query, row after row, without the right to write.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use base::Value;
use base64::Engine as _;
use futures::StreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use sqlx::{SqlSafeStr as _, Statement as _, TypeInfo as _, ValueRef as _};
use tokio::runtime::Runtime;

use crate::error::SourcesError;
use crate::json::whole_number;
use crate::lines::too_long;
use crate::place::without_secrets;
use crate::record::{Body, Damage, Position, Reason, Row};
use crate::sink::{Flow, Halt, Sink, halt};

/// A query of a database.
#[derive(Clone)]
pub(crate) struct Query {
    server: Server,
    /// How the database is shown, without a password.
    shown: String,
    sql: String,
}

#[derive(Clone)]
enum Server {
    Sqlite(PathBuf),
    /// The URL, which may hold a password.
    Postgres(String),
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Query {
    /// Reads `sqlite:PATH?table=NAME`, `sqlite:PATH?query=SQL` and the same of `postgres://`; the SQL is the
    /// rest as it stands, so that it comes last. None for what is no database.
    ///
    /// # Errors
    /// A database without a table or a query, or a file that is not there.
    pub(crate) fn parse(pattern: &str, base: &Path) -> Result<Option<Self>, SourcesError> {
        let is_sqlite = pattern.starts_with("sqlite:");
        if !is_sqlite && !pattern.starts_with("postgres://") && !pattern.starts_with("postgresql://") {
            return Ok(None);
        }
        let find = |key: &str| ["?", "&"].iter().filter_map(|mark| pattern.find(&format!("{mark}{key}="))).min();
        let (at, key) = match (find("query"), find("table")) {
            (Some(query), table) if table.is_none_or(|table| query < table) => (query, "query"),
            (_, Some(table)) => (table, "table"),
            _ => return Err(SourcesError::pattern(pattern, "it names neither a table nor a query")),
        };
        let (address, text) = (&pattern[..at], pattern[at + key.len() + 2..].trim());
        if text.is_empty() {
            return Err(SourcesError::pattern(pattern, format!("its {key} is empty")));
        }
        let sql = if key == "query" {
            text.trim_end_matches([';', ' ', '\n']).to_owned()
        } else {
            let parts: Vec<String> = text.split('.').map(quoted).collect();
            format!("SELECT * FROM {}", parts.join("."))
        };
        let server = if is_sqlite {
            let path = address.trim_start_matches("sqlite:").trim_start_matches("//");
            let path = base.join(path);
            std::fs::metadata(&path).map_err(SourcesError::io("open", &path))?;
            Server::Sqlite(path)
        } else {
            PgConnectOptions::from_str(address)
                .map_err(|_| SourcesError::pattern(pattern, "it is no PostgreSQL URL"))?;
            Server::Postgres(address.to_owned())
        };
        Ok(Some(Self { server, shown: format!("{}?{key}={text}", without_secrets(address)), sql }))
    }

    pub(crate) fn shown(&self) -> String {
        self.shown.clone()
    }

    pub(crate) fn key(&self) -> String {
        match &self.server {
            Server::Sqlite(path) => format!("{}?{}", path.display(), self.sql),
            Server::Postgres(url) => format!("{url}?{}", self.sql),
        }
    }
}

/// A name as SQL quotes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Runs a query, and gives its rows.
pub(crate) fn read_query(query: &Query, sink: &mut Sink<'_, '_>) -> Flow {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &query.server {
        Server::Sqlite(path) => read_sqlite(&runtime, path, &query.sql, sink),
        Server::Postgres(url) => read_postgres(&runtime, url, &query.sql, sink),
    }
}

fn refused(error: &sqlx::Error) -> Halt {
    let reason = match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => Reason::Network,
        sqlx::Error::Configuration(_) => return halt(Reason::Query, "the address of the database is not understood"),
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // SQLITE_CORRUPT and SQLITE_NOTADB; invalid_password and its class.
            Some("11" | "26") => Reason::Corrupt,
            Some(code) if code.starts_with("28") => Reason::Denied,
            _ => Reason::Query,
        },
        _ => Reason::Query,
    };
    halt(reason, error.to_string())
}

/// Waits for something of the network.
fn wait<T>(runtime: &Runtime, time: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Halt> {
    let waited = runtime.block_on(async { tokio::time::timeout(time, work).await });
    waited
        .map_err(|_| halt(Reason::Timeout, "the database said nothing for too long"))?
        .map_err(|error| refused(&error))
}

fn read_sqlite(runtime: &Runtime, path: &Path, sql: &str, sink: &mut Sink<'_, '_>) -> Flow {
    let options =
        SqliteConnectOptions::new().filename(path).read_only(true).create_if_missing(false).row_buffer_size(16);
    let patience = sink.config.query_wait();
    let mut connection = wait(runtime, patience, options.connect())?;
    let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut connection);
    let mut names: Option<Arc<[String]>> = None;
    let mut number = 0;
    while let Some(row) = wait(runtime, patience, async { rows.next().await.transpose() })
        .map_err(|halt| halt.at(Position::Record(number + 1)))?
    {
        number += 1;
        let columns =
            names.get_or_insert_with(|| row.columns().iter().map(|column| column.name().to_owned()).collect()).clone();
        let cells = (0..columns.len()).map(|index| sqlite_cell(&row, index)).collect();
        give(columns, cells, number, sink)?;
    }
    drop(rows);
    // Nothing was written; a failure to close loses nothing.
    let _ = runtime.block_on(connection.close());
    Ok(())
}

fn sqlite_cell(row: &SqliteRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Missing);
    }
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INTEGER" | "BOOLEAN" => whole_number(i128::from(row.try_get_unchecked::<i64, _>(index)?)),
        "REAL" => float(row.try_get_unchecked::<f64, _>(index)?),
        "BLOB" => {
            let bytes = row.try_get_unchecked::<Vec<u8>, _>(index)?;
            Value::Text(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => base64::engine::general_purpose::STANDARD.encode(error.as_bytes()),
            })
        }
        _ => Value::Text(row.try_get_unchecked::<String, _>(index)?),
    })
}

fn float(number: f64) -> Value {
    if number.is_finite() {
        Value::Number(number)
    } else if number.is_nan() {
        Value::Missing
    } else {
        Value::Text(number.to_string())
    }
}

fn give(columns: Arc<[String]>, cells: Result<Vec<Value>, sqlx::Error>, number: u64, sink: &mut Sink<'_, '_>) -> Flow {
    let position = Position::Record(number);
    match cells {
        Ok(cells) => {
            let length: usize = cells.iter().filter_map(Value::as_text).map(str::len).sum();
            if length > sink.config.record_bytes_max {
                return sink.damaged(position, too_long(sink.config.record_bytes_max));
            }
            sink.record(position, Body::Row(Row { columns, cells }), 0)
        }
        Err(error) => sink.damaged(position, Damage::new(Reason::Query, error.to_string())),
    }
}

fn read_postgres(runtime: &Runtime, url: &str, sql: &str, sink: &mut Sink<'_, '_>) -> Flow {
    let patience = sink.config.query_wait();
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| refused(&error))?
        .application_name("modelyard")
        // The user's SQL is trusted to be what was meant, and still may not change anything.
        .options([("default_transaction_read_only", "on")]);
    let mut connection = wait(runtime, sink.config.network_wait(), options.connect())?;
    let statement = wait(runtime, patience, (&mut connection).prepare(AssertSqlSafe(sql).into_sql_str()))?;
    let columns: Vec<(String, String)> = statement
        .columns()
        .iter()
        .map(|column| (column.name().to_owned(), column.type_info().name().to_ascii_uppercase()))
        .collect();
    drop(statement);
    if columns.len() > sink.config.columns_max {
        return Err(halt(Reason::TooMany, format!("it has more than {} columns", sink.config.columns_max)));
    }
    let names: Arc<[String]> = columns.iter().map(|(name, _)| name.clone()).collect();
    let sql = shaped(sql, &columns)?;
    let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut connection);
    let mut number = 0;
    while let Some(row) = wait(runtime, patience, async { rows.next().await.transpose() })
        .map_err(|halt| halt.at(Position::Record(number + 1)))?
    {
        number += 1;
        let cells = columns.iter().enumerate().map(|(index, (_, kind))| postgres_cell(&row, index, kind)).collect();
        give(Arc::clone(&names), cells, number, sink)?;
    }
    drop(rows);
    let _ = runtime.block_on(connection.close());
    Ok(())
}

/// Whether a type has a reader here; others are read as the text that the server writes.
fn is_native(kind: &str) -> bool {
    matches!(
        kind,
        "BOOL" | "INT2" | "INT4" | "INT8" | "FLOAT4" | "FLOAT8" | "TEXT" | "VARCHAR" | "CHAR" | "BPCHAR" | "NAME"
    )
}

/// The query with every column that has no reader here cast to text by the server.
fn shaped(sql: &str, columns: &[(String, String)]) -> Result<String, Halt> {
    if columns.iter().all(|(_, kind)| is_native(kind)) {
        return Ok(sql.to_owned());
    }
    let mut seen = HashSet::new();
    if let Some((twice, _)) = columns.iter().find(|(name, _)| !seen.insert(name)) {
        return Err(halt(Reason::Query, format!("two columns are named {twice:?}; name them apart with AS")));
    }
    let list: Vec<String> = columns
        .iter()
        .map(|(name, kind)| {
            let name = quoted(name);
            if is_native(kind) { format!("q.{name}") } else { format!("q.{name}::text AS {name}") }
        })
        .collect();
    // A comment at the end of the query ends with its line.
    Ok(format!("SELECT {} FROM (\n{sql}\n) AS q", list.join(", ")))
}

fn postgres_cell(row: &PgRow, index: usize, kind: &str) -> Result<Value, sqlx::Error> {
    if row.try_get_raw(index)?.is_null() {
        return Ok(Value::Missing);
    }
    Ok(match kind {
        "BOOL" => Value::Binary(row.try_get_unchecked(index)?),
        "INT2" => Value::Number(f64::from(row.try_get_unchecked::<i16, _>(index)?)),
        "INT4" => Value::Number(f64::from(row.try_get_unchecked::<i32, _>(index)?)),
        "INT8" => whole_number(i128::from(row.try_get_unchecked::<i64, _>(index)?)),
        "FLOAT4" => float(f64::from(row.try_get_unchecked::<f32, _>(index)?)),
        "FLOAT8" => float(row.try_get_unchecked::<f64, _>(index)?),
        _ => Value::Text(row.try_get_unchecked::<String, _>(index)?),
    })
}

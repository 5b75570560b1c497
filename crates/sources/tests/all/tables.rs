use std::ops::ControlFlow;

use base::Value;
use sources::{Body, Config, Item, Reason};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

fn rows(pattern: &str, folder: &std::path::Path) -> (Vec<Vec<Value>>, Vec<(String, Reason)>) {
    let config = Config::default();
    let (mut rows, mut damaged) = (Vec::new(), Vec::new());
    for object in sources::find(&[pattern.to_owned()], folder, &config).unwrap() {
        sources::read(&object, &config, &mut |item| {
            match item {
                Item::Record(record) => match record.body {
                    Body::Row(row) => rows.push(row.cells),
                    other => panic!("{other:?}"),
                },
                Item::Damaged { place, damage } => damaged.push((place.to_string(), damage.reason)),
                _ => {}
            }
            ControlFlow::Continue(())
        });
    }
    (rows, damaged)
}

#[test]
fn tables_of_sqlite_are_read_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
        connection
            .execute(
                "CREATE TABLE \"or ders\" (id INTEGER, price REAL, name TEXT, paid BOOLEAN, raw BLOB);
                 INSERT INTO \"or ders\" VALUES (1, 2.5, 'modèle', TRUE, x'ff00'), (9007199254740993, NULL, 'x', 0, x'6162');",
            )
            .await
            .unwrap();
        connection.close().await.unwrap();
    });
    let text = |text: &str| Value::Text(text.to_owned());
    let (all, damaged) = rows("sqlite:shop.db?table=or ders", folder.path());
    assert_eq!(damaged, []);
    assert_eq!(all[0], [Value::Number(1.0), Value::Number(2.5), text("modèle"), Value::Number(1.0), text("/wA=")]);
    assert_eq!(all[1], [text("9007199254740993"), Value::Missing, text("x"), Value::Number(0.0), text("ab")]);
    let (some, _) =
        rows("sqlite:shop.db?query=SELECT name, id & 1 AS odd FROM \"or ders\" WHERE name LIKE '%x%';", folder.path());
    assert_eq!(some, [[text("x"), Value::Number(1.0)]]);
    for (query, reason) in [
        ("DELETE FROM \"or ders\"", Reason::Query),
        ("SELECT nothing", Reason::Query),
        ("SELECT * FROM nowhere", Reason::Query),
    ] {
        let (none, damaged) = rows(&format!("sqlite:shop.db?query={query}"), folder.path());
        assert_eq!((none.len(), damaged[0].1), (0, reason), "{query}");
    }
    assert_eq!(rows("sqlite:shop.db?table=or ders", folder.path()).0.len(), 2);
    std::fs::write(folder.path().join("bad.db"), vec![7; 5000]).unwrap();
    assert_eq!(rows("sqlite:bad.db?table=x", folder.path()).1[0].1, Reason::Corrupt);
}

/// A real PostgreSQL server in a folder of its own; Debian's `postgresql` package.
#[test]
fn tables_of_postgresql_are_read_and_not_written() {
    if std::env::var_os("YARD_TEST_FULL").is_none_or(|value| value != "1") {
        eprintln!("skipped: needs YARD_TEST_FULL=1 and PostgreSQL");
        return;
    }
    let server = Postgres::start();
    let folder = tempfile::tempdir().unwrap();
    server.run(
        "CREATE TABLE orders (id bigint, price numeric(10,2), name text, paid boolean, at timestamptz, tags text[], n int, f float8);
         INSERT INTO orders VALUES (9007199254740993, 12.30, 'modèle', true, '2024-05-01 12:00:00+00', '{a,b}', 7, 0.5);
         INSERT INTO orders SELECT i, NULL, 'row ' || i, false, NULL, NULL, i, 'NaN' FROM generate_series(1, 5000) AS i;",
    );
    let url = format!("postgres://yard:s3cret@127.0.0.1:{}/postgres", server.port);
    let (all, damaged) = rows(&format!("{url}?table=public.orders"), folder.path());
    assert_eq!(damaged, []);
    assert_eq!(all.len(), 5001);
    let text = |text: &str| Value::Text(text.to_owned());
    let expected = [
        text("9007199254740993"),
        text("12.30"),
        text("modèle"),
        Value::Binary(true),
        text("2024-05-01 12:00:00+00"),
        text("{a,b}"),
        Value::Number(7.0),
        Value::Number(0.5),
    ];
    assert_eq!(all[0], expected);
    assert_eq!(all[1][7], Value::Missing);
    for query in
        ["DELETE FROM orders", "WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone", "SELECT nothing"]
    {
        let (none, damaged) = rows(&format!("{url}?query={query}"), folder.path());
        assert_eq!((none.len(), damaged[0].1), (0, Reason::Query), "{query}");
        assert!(!damaged[0].0.contains("s3cret"));
    }
    assert_eq!(rows(&format!("{url}?query=SELECT count(*) FROM orders"), folder.path()).0, [[Value::Number(5001.0)]]);
    let wrong = url.replace("s3cret", "wr0ng");
    let (_, damaged) = rows(&format!("{wrong}?table=orders"), folder.path());
    assert_eq!(damaged[0].1, Reason::Denied);
    assert!(!damaged[0].0.contains("wr0ng"));
}

struct Postgres {
    folder: tempfile::TempDir,
    tools: std::path::PathBuf,
    port: u16,
}

impl Postgres {
    fn start() -> Self {
        let versions = std::fs::read_dir("/usr/lib/postgresql").expect("apt-get install postgresql");
        let newest = versions.map(|entry| entry.unwrap().path()).max().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let server = Self { folder: tempfile::tempdir().unwrap(), tools: newest.join("bin"), port };
        // The server refuses to run as root.
        server.shell("chown -R postgres .");
        server.shell(&format!("printf s3cret > {0}/word && chown postgres {0}/word", server.folder.path().display()));
        server.user("initdb -D data -U yard --pwfile word -A scram-sha-256 -E UTF8 >/dev/null");
        server.user(&format!(
            "pg_ctl -D data -w -l log -o '-p {port} -c listen_addresses=127.0.0.1 -k {}' start >/dev/null",
            server.folder.path().display()
        ));
        server
    }

    fn shell(&self, command: &str) {
        let status =
            std::process::Command::new("bash").arg("-c").arg(command).current_dir(self.folder.path()).status().unwrap();
        assert!(status.success(), "{command}");
    }

    fn user(&self, command: &str) {
        let path = self.tools.display();
        self.shell(&format!("runuser -u postgres -- env PATH={path}:$PATH bash -c {}", shell_quoted(command)));
    }

    fn run(&self, sql: &str) {
        let command = format!(
            "PGPASSWORD=s3cret psql -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p {} -U yard postgres -c {}",
            self.port,
            shell_quoted(sql)
        );
        self.user(&command);
    }
}

fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.user("pg_ctl -D data -m immediate stop >/dev/null");
    }
}

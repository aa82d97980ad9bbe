//! The URL of the orders' database, and how to open it.

use std::fmt;
use std::path::PathBuf;

use super::database::{Database, DatabaseError, Sink, SinkLocation};
use super::postgres::Postgres;
use super::postgres_url::PostgresUrl;
use super::sqlite::Sqlite;

/// The URL of the orders' database, validated without connecting. Displayed without its password.
#[derive(Clone)]
pub struct DatabaseUrl(Kind);

#[derive(Clone)]
enum Kind {
    Sqlite(PathBuf),
    Postgres(Box<PostgresUrl>),
}

impl DatabaseUrl {
    /// Parses `postgres://…` or `sqlite:FILE`. Ignores blanks and line ends around it. The error
    /// says what would be valid, and quotes nothing: the text may contain a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains(char::is_control) {
            return Err("has a line end or another control character in it".into());
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self(Kind::Postgres(Box::new(PostgresUrl::parse(text)?))));
        }
        match text.strip_prefix("sqlite:") {
            Some(file) => sqlite_file(file).map(|file| Self(Kind::Sqlite(file))),
            None => {
                Err("must be postgres://user:password@host:port/database or sqlite:FILE".into())
            }
        }
    }

    /// Opens the database and migrates its schema. From then on it reconnects by itself: after
    /// [`DatabaseError::Away`] the same call can be made again.
    pub fn open(&self) -> Result<Box<dyn Database>, DatabaseError> {
        Ok(match &self.0 {
            Kind::Sqlite(file) => Box::new(Sqlite::open(file)?),
            Kind::Postgres(url) => Box::new(Postgres::open(PostgresUrl::clone(url))?),
        })
    }
}

impl SinkLocation for DatabaseUrl {
    fn name(&self) -> String {
        format!("orders in {self}")
    }

    fn open_sink(&self) -> Result<Box<dyn Sink>, DatabaseError> {
        let database: Box<dyn Sink> = self.open()?;
        Ok(database)
    }
}

/// Parses the name of a file. Refuses names in which other programs see more than a name.
fn sqlite_file(file: &str) -> Result<PathBuf, String> {
    let problem = if file.is_empty() {
        "must name a file, as in sqlite:./orders.db"
    } else if file.starts_with("//") {
        "has no `//`: a file is sqlite:./FILE or sqlite:/FILE"
    } else if file.starts_with(":memory:") || file.starts_with("file:") {
        "must name a file, as in sqlite:./orders.db: what is in memory only is lost with the process"
    } else if file.contains('?') {
        "has no parameters: a file is sqlite:./FILE or sqlite:/FILE, without a `?`"
    } else {
        return Ok(file.into());
    };
    Err(problem.into())
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
            Kind::Postgres(url) => write!(f, "{url}"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Opens the database of a URL: see [`DatabaseUrl`].
pub fn open(url: &str) -> Result<Box<dyn Database>, DatabaseError> {
    DatabaseUrl::parse(url).map_err(DatabaseError::Fatal)?.open()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_trimmed_checked_and_redacted() {
        for (text, shown) in [
            ("sqlite:o.db\n", "sqlite:o.db"),
            (" sqlite:/var/lib/my orders.db\r\n", "sqlite:/var/lib/my orders.db"),
            ("postgres://ann@host/shop\n", "postgres://***@host/shop"),
            ("\tpostgres://ann:hunter2@host/shop \n\n", "postgres://ann:***@host/shop"),
        ] {
            assert_eq!(DatabaseUrl::parse(text).unwrap().to_string(), shown);
        }
        for (bad, told) in [
            ("", "must be postgres://"),
            ("sqlite:\n", "must name a file"),
            ("sqlite:a\nb", "a line end"),
            ("postgres://ann:hunter2\n@host/shop", "a line end"),
            ("sqlite:///o.db", "has no `//`"),
            ("sqlite::memory:", "lost with the process"),
            ("sqlite:file:o.db", "must name a file"),
            ("sqlite:file:o?mode=memory", "must name a file"),
            ("sqlite:o.db?mode=rwc", "has no parameters"),
        ] {
            let problem = DatabaseUrl::parse(bad).unwrap_err();
            assert!(problem.contains(told) && !problem.contains("hunter2"), "{bad:?}: {problem}");
        }
    }
}

//! Where orders are to be kept, as people write it, and the way there.

use std::fmt;
use std::path::PathBuf;

use super::database::{Database, DatabaseError, Place, Sink};
use super::postgres::Postgres;
use super::postgres_url::PostgresUrl;
use super::sqlite::Sqlite;

/// Where orders are to be kept, checked as far as can be without going there. Shows itself without
/// its password.
#[derive(Clone)]
pub struct DatabaseUrl(Kind);

#[derive(Clone)]
enum Kind {
    Sqlite(PathBuf),
    Postgres(Box<PostgresUrl>),
}

impl DatabaseUrl {
    /// Reads `postgres://…` or `sqlite:FILE`. Blanks and line ends around it are no part of it. An
    /// error says what would be right, and quotes nothing: there may be a password in it.
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

    /// Opens it and brings its schema up to date. From then on it finds back to the database by
    /// itself: after [`DatabaseError::Away`] the same call can be made again.
    pub fn open(&self) -> Result<Box<dyn Database>, DatabaseError> {
        Ok(match &self.0 {
            Kind::Sqlite(file) => Box::new(Sqlite::open(file)?),
            Kind::Postgres(url) => Box::new(Postgres::open(PostgresUrl::clone(url))?),
        })
    }
}

impl Place for DatabaseUrl {
    fn name(&self) -> String {
        format!("orders in {self}")
    }

    fn open_sink(&self) -> Result<Box<dyn Sink>, DatabaseError> {
        let database: Box<dyn Sink> = self.open()?;
        Ok(database)
    }
}

/// Reads the name of a file. What other programs take for more than a name is refused.
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

/// Opens the database that a URL names: see [`DatabaseUrl`].
pub fn open(url: &str) -> Result<Box<dyn Database>, DatabaseError> {
    DatabaseUrl::parse(url).map_err(DatabaseError::Fatal)?.open()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_trimmed_and_says_only_what_it_says() {
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

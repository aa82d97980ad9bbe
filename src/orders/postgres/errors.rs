//! The errors of PostgreSQL, or of PgBouncer before it, and whether the operator must act.

use postgres::error::{DbError, SqlState};

use crate::orders::database::DatabaseError;

/// The error for a server that presents an authority's certificate as its own, as the self-signed
/// one of PostgreSQL's manual is.
const AUTHORITY_AS_SERVER: &str = "CaUsedAsEndEntity";

/// The constraint on the status of a row. That of 0.1.0 knows no refund.
pub(super) const STATUSES: &str = "orders_status_check";
/// What the owner of the table must run then, without a scan of all rows: they are valid.
pub(super) const STATUSES_BY_HAND: &str = "ALTER TABLE orders DROP CONSTRAINT orders_status_check, \
     ADD CONSTRAINT orders_status_check CHECK (status IN ('held', 'confirmed', 'cancelled', 'expired', \
     'refunded')) NOT VALID";

/// Classifies an error by whether the operator must act.
pub(super) fn judge(error: &postgres::Error) -> DatabaseError {
    let Some(from_server) = error.as_db_error() else {
        let text = with_causes(error);
        // The crate distinguishes kinds by their text only.
        let ours = ["invalid con", "authentication error", "error performing TLS"];
        return if text.contains(AUTHORITY_AS_SERVER) {
            DatabaseError::Fatal(
                text + "; the server shows the certificate of an authority as its own: give it one \
                        that the authority has signed, and name the authority by sslrootcert; or \
                        make the self-signed one again with `openssl req -x509 … -addext \
                        basicConstraints=critical,CA:FALSE` and name it by sslrootcert",
            )
        } else if ours.iter().any(|start| text.starts_with(start)) {
            DatabaseError::Fatal(text)
        } else {
            DatabaseError::Away(text)
        };
    };
    let text = describe(from_server);
    if let Some(hint) = pooler_refuses(from_server) {
        return DatabaseError::Fatal(text + hint);
    }
    if passes(from_server.code()) {
        return DatabaseError::Away(text);
    }
    if from_server.constraint() == Some(STATUSES) {
        let hint = "; the table takes no refund, and its owner must run:";
        return DatabaseError::Fatal(format!("{text}{hint} {STATUSES_BY_HAND}"));
    }
    let hint = match *from_server.code() {
        SqlState::INSUFFICIENT_PRIVILEGE => "; the user of the URL needs this right",
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION if text.contains("no encryption") => {
            "; if it asks for encryption, add ?sslmode=require to the URL"
        }
        SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_TABLE | SqlState::DATATYPE_MISMATCH => {
            "; somebody has changed stampede's tables"
        }
        SqlState::DISK_FULL => "; make room and start again: nothing is lost",
        _ => "",
    };
    DatabaseError::Fatal(text + hint)
}

/// Whether an error passes by itself: the server starts or stops, is overloaded or fails over, or
/// another transaction was in the way (PostgreSQL documentation, appendix A).
fn passes(state: &SqlState) -> bool {
    let class = state.code().get(..2).unwrap_or_default();
    let passing = [
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::OUT_OF_MEMORY,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    matches!(class, "08" | "40" | "57") || passing.contains(state)
}

/// What to change if PgBouncer does not let us work at all. It uses one code for everything, and
/// most of that passes.
fn pooler_refuses(error: &DbError) -> Option<&'static str> {
    (*error.code() == SqlState::PROTOCOL_VIOLATION
        && error.message().contains("unsupported startup parameter: options"))
    .then_some(
        "; through PgBouncer give the schema without ?options=: ALTER ROLE … SET search_path = …",
    )
}

fn describe(error: &DbError) -> String {
    let more = [error.detail(), error.hint()].into_iter().flatten();
    let more: String = more.map(|text| format!(" ({text})")).collect();
    format!("PostgreSQL: {}{more} [{}]", error.message(), error.code().code())
}

pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text += &format!(": {said}");
        }
        cause = error.source();
    }
    text
}

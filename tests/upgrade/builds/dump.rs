//! The content of a Redis and of a PostgreSQL, as text.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::eventually;
use crate::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;

/// Everything in a Redis, as commands that create it again, one per line, as `redis-cli` takes
/// them. Every version can read them, and people too; neither is true of an RDB file. The commands
/// are those that Redis itself writes into its append-only file.
pub fn redis(server: &RedisServer) -> String {
    let mut connection = server.connect();
    connection.text("CONFIG SET aof-use-rdb-preamble no");
    connection.text("CONFIG SET appendonly yes");
    eventually("the append-only file is written", || {
        let info = connection.text("INFO persistence");
        ["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0", "aof_last_bgrewrite_status:ok"]
            .iter()
            .all(|field| info.contains(field))
    });
    let folder = connection.list("CONFIG GET dir").remove(1);
    let files = fs::read_dir(Path::new(&folder).join("appendonlydir")).expect("its folder");
    let names = files.map(|file| file.expect("a file").path());
    let mut bases = names.filter(|path| path.to_string_lossy().ends_with(".base.aof"));
    let bytes = fs::read(bases.next().expect("a base file")).expect("the append-only file");
    let mut commands: Vec<String> = commands(&bytes);
    // Sorted by key, so that two dumps can be compared. All commands of a key stay in their order.
    commands.sort_by_cached_key(|command| {
        let place = if command.starts_with("XGROUP ") { 2 } else { 1 };
        command.split(' ').nth(place).expect("a key").to_owned()
    });
    commands.concat()
}

/// The commands of an append-only file, without the one that selects the database.
fn commands(mut bytes: &[u8]) -> Vec<String> {
    let mut commands = Vec::new();
    while !bytes.is_empty() {
        let count = length(&mut bytes, b'*');
        let words = (0..count).map(|_| {
            let length = length(&mut bytes, b'$');
            let (word, rest) = bytes.split_at(length);
            bytes = rest.strip_prefix(b"\r\n").expect("the end of a word");
            quoted(word)
        });
        let words: Vec<String> = words.collect();
        if words[0] != "SELECT" {
            commands.push(words.join(" ") + "\n");
        }
    }
    commands
}

/// Reads a line with a number after this sign.
fn length(bytes: &mut &[u8], sign: u8) -> usize {
    let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a line");
    let (line, rest) = bytes.split_at(end);
    *bytes = &rest[2..];
    let digits = line.strip_prefix(&[sign]).and_then(|digits| str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).expect("a number")
}

/// A word as Redis' own line parser wants it.
fn quoted(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut text = String::from("\"");
    for &byte in bytes {
        let _ = match byte {
            b'"' | b'\\' => write!(text, "\\{}", char::from(byte)),
            b'\n' => write!(text, "\\n"),
            b'\t' => write!(text, "\\t"),
            b' '..=b'~' => write!(text, "{}", char::from(byte)),
            other => write!(text, "\\x{other:02x}"),
        };
    }
    text + "\""
}

/// Everything in a PostgreSQL, as SQL.
pub fn postgres(server: &PostgresServer) -> String {
    let mut dump = server.program("pg_dump");
    dump.args(["--no-owner", "--inserts", "--dbname", &server.url()]);
    let output = dump.output().expect("run pg_dump");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // Some releases of pg_dump write commands of psql, which are not SQL.
    text.lines().filter(|line| !line.starts_with('\\')).map(|line| format!("{line}\n")).collect()
}

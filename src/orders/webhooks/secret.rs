//! The secrets that sign webhooks, and the signature (Standard Webhooks 1.0.0, "Signature scheme").
//!
//! A file has one secret per line, and every line signs, so that a receiver can change from one
//! secret to the next. The file is read again when it changes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{HMAC_SHA256, Key, sign};

use crate::limits::{
    WEBHOOK_SECRET_BYTES_MAX, WEBHOOK_SECRET_BYTES_MIN, WEBHOOK_SECRETS_FILE_BYTES_MAX,
    WEBHOOK_SECRETS_MAX,
};

/// The prefix of a secret.
const PREFIX: &str = "whsec_";

/// The secrets that sign at the same time, at least one. Displayed as `***`.
#[derive(Clone)]
pub struct Secrets(Vec<Key>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Secrets {
    /// Parses one `whsec_<base64>` per line; ignores empty lines and those that begin with `#`.
    ///
    /// # Errors
    /// Says which line is wrong and what would be valid, and quotes nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if !line.is_empty() && !line.starts_with('#') {
                keys.push(key(line).map_err(|problem| format!("line {number} {problem}"))?);
            }
        }
        match keys.len() {
            0 => Err(format!("has no secret: a line of it is {PREFIX} and base64")),
            1..=WEBHOOK_SECRETS_MAX => Ok(Self(keys)),
            many => Err(format!("has {many} secrets, and may have {WEBHOOK_SECRETS_MAX}")),
        }
    }

    /// The value of `webhook-signature`: one signature per secret, in the order of the file.
    pub fn sign(&self, id: &str, timestamp_s: u64, body: &str) -> String {
        let signed = format!("{id}.{timestamp_s}.{body}");
        let one = |key: &Key| format!("v1,{}", STANDARD.encode(sign(key, signed.as_bytes())));
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

fn key(line: &str) -> Result<Key, String> {
    let length = WEBHOOK_SECRET_BYTES_MIN..=WEBHOOK_SECRET_BYTES_MAX;
    let bytes = line.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
    match bytes.filter(|bytes| length.contains(&bytes.len())) {
        Some(bytes) => Ok(Key::new(HMAC_SHA256, &bytes)),
        None => Err(format!(
            "is no secret: it must be {PREFIX} and the base64 of {WEBHOOK_SECRET_BYTES_MIN} to \
             {WEBHOOK_SECRET_BYTES_MAX} bytes, such as `echo {PREFIX}$(openssl rand -base64 32)` \
             prints"
        )),
    }
}

/// Identifies the content of a file: device, inode, size, time of the last change in ns.
type Stamp = (u64, u64, u64, i64, i64);

/// A file of secrets, and its content when it was read.
#[derive(Debug, Clone)]
pub struct SecretFile {
    path: PathBuf,
    stamp: Stamp,
    /// A content that was rejected, so that it is reported once.
    refused: Option<Stamp>,
    secrets: Secrets,
}

impl SecretFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It can't be read, or a line is wrong.
    pub fn load(path: &Path) -> Result<Self, String> {
        let stamp = stamp(path).map_err(|error| format!("can't be read: {error}"))?;
        let secrets = read(path)?;
        Ok(Self { path: path.to_owned(), stamp, refused: None, secrets })
    }

    /// The secrets that were read last.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again if it has changed. `None`: it has not. After an error the old secrets
    /// stay, and the error is returned once.
    pub fn refresh(&mut self) -> Option<Result<(), String>> {
        let now = stamp(&self.path).unwrap_or_default();
        if now == self.stamp || Some(now) == self.refused {
            return None;
        }
        Some(match read(&self.path) {
            Ok(secrets) => {
                (self.secrets, self.stamp, self.refused) = (secrets, now, None);
                Ok(())
            }
            Err(problem) => {
                self.refused = Some(now);
                Err(problem)
            }
        })
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

fn read(path: &Path) -> Result<Secrets, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(WEBHOOK_SECRETS_FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| format!("can't be read: {error}"))?;
    if text.len() as u64 > WEBHOOK_SECRETS_FILE_BYTES_MAX {
        return Err(format!("is larger than {WEBHOOK_SECRETS_FILE_BYTES_MAX} bytes"));
    }
    Secrets::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of the libraries that receivers verify with (Standard Webhooks, its test vector).
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &str = r#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_example_of_the_specification_is_reproduced() {
        let secrets = Secrets::parse(SECRET).unwrap();
        assert_eq!(secrets.sign(ID, 1_614_265_330, BODY), SIGNATURE);
        assert_eq!(format!("{secrets:?}"), "***");
        let page = include_str!("../../../docs/webhooks.md");
        for told in [SECRET, ID, "1614265330", BODY, SIGNATURE] {
            assert!(page.contains(&format!("| `{told}` |")), "docs/webhooks.md lacks {told}");
        }
    }

    #[test]
    fn each_secret_signs_in_the_order_of_the_file() {
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let alone = Secrets::parse(&other).unwrap().sign(ID, 1_614_265_330, BODY);
        let both = Secrets::parse(&format!("# new\n{other}\n\n  {SECRET}\r\n")).unwrap();
        assert_eq!(both.sign(ID, 1_614_265_330, BODY), format!("{alone} {SIGNATURE}"));
    }

    #[test]
    fn malformed_secrets_are_refused_and_never_quoted() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![9; bytes]));
        for (text, told) in [
            ("", "has no secret"),
            ("# nothing\n\n", "has no secret"),
            ("hunter2", "line 1 is no secret"),
            (&format!("{SECRET}\nwhsec_hunter2"), "line 2 is no secret"),
            (&of(23), "24 to 64 bytes"),
            (&of(65), "24 to 64 bytes"),
            (&[SECRET; 9].join("\n"), "has 9 secrets"),
        ] {
            let problem = Secrets::parse(text).unwrap_err();
            assert!(problem.contains(told) && !problem.contains("hunter2"), "{problem}");
        }
        assert!(Secrets::parse(&of(24)).is_ok() && Secrets::parse(&of(64)).is_ok());
        assert!(Secrets::parse(&[SECRET; 8].join("\n")).is_ok());
    }

    #[test]
    fn a_secret_file_is_reread_only_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        fs::write(&path, SECRET).unwrap();
        let mut file = SecretFile::load(&path).unwrap();
        assert!(file.refresh().is_none());
        let put = |text: &str| {
            fs::write(path.with_extension("new"), text).unwrap();
            fs::rename(path.with_extension("new"), &path).unwrap();
        };
        put("nonsense");
        let problem = file.refresh().unwrap().unwrap_err();
        assert!(problem.contains("line 1 is no secret"), "{problem}");
        assert!(file.refresh().is_none());
        assert_eq!(file.secrets().sign(ID, 1_614_265_330, BODY), SIGNATURE);
        put(&format!("whsec_{}\n{SECRET}", STANDARD.encode([7; 32])));
        assert_eq!(file.refresh(), Some(Ok(())));
        let signed = file.secrets().sign(ID, 1_614_265_330, BODY);
        assert!(signed.ends_with(&format!(" {SIGNATURE}")), "{signed}");
        fs::remove_file(&path).unwrap();
        assert!(file.refresh().unwrap().unwrap_err().contains("can't be read"));
        assert!(file.refresh().is_none());
    }
}

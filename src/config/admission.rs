//! Settings of admission: the keys of tokens, and the rate limits per user and address.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::builder::ConfigBuilder;
use super::value::whole_number;
use crate::admission::{Admission, KeySet};
use crate::limiter::Rate;
use crate::limits::{
    ADMISSION_AUDIENCE_BYTES_MAX, ADMISSION_KEYS_BYTES_MAX, RATE_BURST_MAX, RATE_PER_S_MAX,
};

/// The setting that names the file of keys.
pub(super) const ADMISSION_KEYS: &str = "admission-keys";

/// Default audience of tokens.
const AUDIENCE_DEFAULT: &str = "stampede";

/// The keys whose tokens admit buyers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionSetting {
    /// The file of keys.
    pub file: PathBuf,
    /// The keys of the file, and the audience.
    pub admission: Arc<Admission>,
}

/// The keys of a file, and whether every user of the machine can read the file.
fn keys(path: &Path) -> Result<(KeySet, bool), String> {
    let mut text = Vec::new();
    let public = File::open(path)
        .and_then(|file| {
            let public = file.metadata()?.permissions().mode() & 0o004 != 0;
            file.take(ADMISSION_KEYS_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
            Ok(public)
        })
        .map_err(|error| format!("can't be read: {error}"))?;
    let keys = KeySet::parse(&text).map_err(|problem| problem.to_string())?;
    Ok((keys, public))
}

/// `N` or `N/BURST`.
fn rate(text: &str) -> Result<Option<Rate>, String> {
    if text == "off" {
        return Ok(None);
    }
    let shape = || {
        format!(
            "must be off, or N or N/BURST: 1 to {RATE_PER_S_MAX} purchases per second, and 1 to \
             {RATE_BURST_MAX} at once"
        )
    };
    let (per_s, burst) = text.split_once('/').unwrap_or((text, text));
    let number = |text, max| whole_number(text, 1, max).map_err(|_| shape());
    let (per_s, burst) = (number(per_s, RATE_PER_S_MAX)?, number(burst, RATE_BURST_MAX)?);
    Rate::new(per_s, burst).map(Some)
}

impl ConfigBuilder {
    /// The keys whose tokens admit buyers, if the settings name any.
    pub(super) fn admission(&mut self) -> Option<AdmissionSetting> {
        let audience = self.value_or("admission-audience", AUDIENCE_DEFAULT.to_owned(), |text| {
            let legal = (1..=ADMISSION_AUDIENCE_BYTES_MAX).contains(&text.len());
            legal
                .then(|| text.to_owned())
                .ok_or_else(|| format!("must have 1 to {ADMISSION_AUDIENCE_BYTES_MAX} bytes"))
        });
        let given = self.layers.values(ADMISSION_KEYS).map(|values| PathBuf::from(&values[0]));
        if given.is_none() && self.layers.values("admission-audience").is_some() {
            let warning = "admission-audience has no effect without admission-keys";
            self.layers.warnings.push(warning.to_owned());
        }
        let file = given?;
        let (keys, public) =
            self.value_or(ADMISSION_KEYS, None, |text| keys(Path::new(text)).map(Some))?;
        let has_secrets = keys.has_secrets();
        if public && has_secrets {
            self.layers.warnings.push(format!(
                "admission-keys: every user of this machine can read the secrets in {}: chmod o-r",
                file.display()
            ));
        }
        let private: Vec<_> = keys.private_kids().collect();
        if !private.is_empty() {
            self.layers.warnings.push(format!(
                "admission-keys: {} has the private part (d) of {}, which only the signer needs: \
                 `stampede token public-keys` prints the file without it",
                file.display(),
                private.join(", ")
            ));
        }
        let admission = Admission { keys, audience: audience.into() };
        Some(AdmissionSetting { file, admission: Arc::new(admission) })
    }

    /// A rate limit, if it is set.
    pub(super) fn rate(&mut self, name: &'static str) -> Option<Rate> {
        self.value_or(name, None, rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_parsed() {
        let read =
            |text: &str| rate(text).map(|rate| rate.map(|rate| (rate.per_s(), rate.burst())));
        assert_eq!(read("off"), Ok(None));
        assert_eq!(read("5"), Ok(Some((5, 5))));
        assert_eq!(read("5/20"), Ok(Some((5, 20))));
        assert_eq!(read("10000/10000"), Ok(Some((10_000, 10_000))));
        for wrong in ["", "0", "5/0", "/5", "5/", "-1", "1.5", "10001", "1/10001", "5/5/5", "on"] {
            assert!(read(wrong).unwrap_err().contains("N/BURST"), "{wrong}");
        }
    }
}

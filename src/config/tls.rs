//! The files of TLS at the buyers' port.

use std::time::SystemTime;

use super::builder::ConfigBuilder;
use super::listen::Listen;
use crate::limits::TLS_PAIRS_MAX;
use crate::tls::{PairFiles, Tickets, TlsSetting};

impl ConfigBuilder {
    /// The files of TLS, if an address uses TLS. Reads and checks them.
    pub(super) fn tls(&mut self, listen: &[Listen]) -> Option<TlsSetting> {
        let given = |taker: &Self, name| taker.layers.values(name).unwrap_or_default().to_vec();
        let certificates = given(self, "tls-cert");
        let keys = given(self, "tls-key");
        let ticket_keys = self.value_or("tls-ticket-keys", None, |text| Ok(Some(text.into())));
        let asked = listen.iter().find(|one| matches!(one, Listen::Tls(_)));
        let Some(asked) = asked else {
            for name in ["tls-cert", "tls-key", "tls-ticket-keys"] {
                if let Some(file) = given(self, name).first() {
                    let problem = "is only of use with --listen tls:HOST:PORT";
                    self.reject(name, file, problem);
                }
            }
            return None;
        };
        if certificates.is_empty() {
            let problem = "needs a certificate (--tls-cert FILE) and its key (--tls-key FILE)";
            self.reject("listen", &asked.to_string(), problem);
            return None;
        }
        if certificates.len() != keys.len() || certificates.len() > TLS_PAIRS_MAX {
            let problem = format!(
                "{} certificates and {} keys: each certificate needs its key, in the same order; at \
                 most {TLS_PAIRS_MAX}",
                certificates.len(),
                keys.len()
            );
            self.reject("tls-cert", &certificates[0], &problem);
            return None;
        }
        let pairs = certificates.iter().zip(&keys).map(|(certificate, key)| PairFiles {
            certificate: certificate.into(),
            key: key.into(),
        });
        let setting = TlsSetting { pairs: pairs.collect(), ticket_keys };
        let loaded = Tickets::new()
            .map_err(|problem| ("tls-cert", String::new(), problem))
            .and_then(|tickets| {
                setting.load(SystemTime::now(), &tickets).map_err(|wrong| {
                    (wrong.setting, wrong.file.display().to_string(), wrong.problem)
                })
            });
        match loaded {
            Ok(loaded) => self.layers.warnings.extend(loaded.warnings),
            Err((name, file, problem)) => self.reject(name, &file, &problem),
        }
        Some(setting)
    }
}

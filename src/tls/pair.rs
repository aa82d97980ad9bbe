//! A certificate with its chain and key, judged before anybody is shown it.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::pem::{certificates, private_key};
use super::setting::{PairFiles, TlsProblem};
use crate::limits::CERTIFICATE_ENDS_SOON_DAYS;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    /// The hosts that it is for, in lower case, some with `*.` before them.
    pub(super) names: Vec<String>,
    /// When the first of the chain expires.
    pub(super) expires: SystemTime,
}

impl Pair {
    pub(super) fn load(
        files: &PairFiles,
        now: SystemTime,
        warnings: &mut Vec<String>,
    ) -> Result<Self, TlsProblem> {
        let wrong = |problem: String| TlsProblem {
            setting: "tls-cert",
            file: files.certificate.clone(),
            problem,
        };
        let wrong_key =
            |problem: String| TlsProblem { setting: "tls-key", file: files.key.clone(), problem };
        let chain = certificates(&files.certificate).map_err(|error| wrong(error.to_string()))?;
        let key = private_key(&files.key).map_err(|error| wrong_key(error.to_string()))?;
        let read = chain.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        judge_chain(&read).map_err(wrong)?;
        for certificate in &read {
            judge_time(certificate, now).map_err(wrong)?;
        }
        let expires = read.iter().map(expiry).min().unwrap_or(now);
        let left = expires.duration_since(now).unwrap_or_default();
        let days = left.as_secs() / 86_400;
        if days < CERTIFICATE_ENDS_SOON_DAYS {
            let file = files.certificate.display();
            warnings.push(format!("the certificate in {file} expires in {days} days"));
        }
        if let [alone] = &read[..]
            && alone.tbs_certificate.issuer != alone.tbs_certificate.subject
        {
            warnings.push(format!(
                "{} has no certificate of the issuer, {}: clients that do not know that issuer \
                 themselves will refuse it",
                files.certificate.display(),
                alone.tbs_certificate.issuer
            ));
        }
        let names = names(&read[0]);
        let key =
            CertifiedKey::from_der(chain, key, &default_provider()).map_err(
                |error| match error {
                    Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => wrong_key(format!(
                        "is not the private key of the certificate in {}",
                        files.certificate.display()
                    )),
                    error => wrong_key(error.to_string()),
                },
            )?;
        Ok(Self { key: Arc::new(key), names, expires })
    }
}

fn read(certificate: &CertificateDer<'_>) -> Result<Certificate, String> {
    Certificate::from_der(certificate).map_err(|error| format!("is no certificate: {error}"))
}

/// Each certificate must be that of the issuer of the one before it.
fn judge_chain(chain: &[Certificate]) -> Result<(), String> {
    for pair in chain.windows(2) {
        let (issuer, next) = (&pair[0].tbs_certificate.issuer, &pair[1].tbs_certificate.subject);
        if issuer != next {
            return Err(format!(
                "the chain is incomplete: after the certificate of {} comes that of its issuer, \
                 {issuer}, but here comes that of {next}",
                pair[0].tbs_certificate.subject
            ));
        }
    }
    Ok(())
}

fn judge_time(certificate: &Certificate, now: SystemTime) -> Result<(), String> {
    let validity = &certificate.tbs_certificate.validity;
    let subject = &certificate.tbs_certificate.subject;
    if now < validity.not_before.to_system_time() {
        return Err(format!(
            "the certificate of {subject} is not valid before {}",
            validity.not_before
        ));
    }
    if now > validity.not_after.to_system_time() {
        return Err(format!("the certificate of {subject} expired on {}", validity.not_after));
    }
    Ok(())
}

fn expiry(certificate: &Certificate) -> SystemTime {
    certificate.tbs_certificate.validity.not_after.to_system_time()
}

fn names(certificate: &Certificate) -> Vec<String> {
    let names = certificate.tbs_certificate.get::<SubjectAltName>().ok().flatten();
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

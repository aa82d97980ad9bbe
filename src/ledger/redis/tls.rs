//! TLS to Redis: the roots to trust, our certificate, and the meaning of a failed handshake.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redis::RedisError;
use rustls::{AlertDescription, CertificateError, ClientConfig, InconsistentKeys, RootCertStore};

use super::handshake_error::HandshakeError;
use crate::tls::pem::{certificates, private_key};

/// The files for TLS, all PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The roots to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate, if we present one.
    pub client: Option<ClientFiles>,
}

/// The files of a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate, and the chain from it to an authority.
    pub certificate: PathBuf,
    /// Its private key, without a password.
    pub key: PathBuf,
}

impl ClientFiles {
    /// Checks that both can be read and belong together.
    ///
    /// # Errors
    /// They don't; the error names the file at fault.
    pub fn check(&self) -> io::Result<()> {
        config(RootCertStore::empty(), Some(self)).map(drop)
    }
}

/// Settings that trust the roots in this PEM file, or the system's.
pub(crate) fn tls_config(ca: Option<&Path>) -> io::Result<ClientConfig> {
    config(roots(ca)?, None)
}

/// Settings for these files.
pub(super) fn tls_config_of(files: &TlsFiles) -> io::Result<ClientConfig> {
    config(roots(files.ca.as_deref())?, files.client.as_ref())
}

fn roots(ca: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for root in certificates(path)? {
                roots.add(root).map_err(io::Error::other)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

fn config(roots: RootCertStore, client: Option<&ClientFiles>) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let Some(ClientFiles { certificate, key }) = client else {
        return Ok(config.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let (certificate, key_name) = (certificate.display(), key.display());
    config.with_client_auth_cert(chain, private_key(key)?).map_err(|error| {
        io::Error::other(match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                format!("{key_name} is not the private key of the certificate in {certificate}")
            }
            error => format!("{certificate} and {key_name}: {error}"),
        })
    })
}

/// Classifies a failed TLS handshake by whether the operator must act.
pub(super) fn tls_failure(error: io::Error) -> HandshakeError {
    let hint = |why: &dyn std::fmt::Display| {
        let text = format!("no TLS with it ({why}): does it speak TLS at this port?");
        HandshakeError::Io(io::Error::new(error.kind(), text))
    };
    match inner(&error) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            let what = match why {
                CertificateError::UnknownIssuer => {
                    "--redis-ca names the authority that signed it".to_owned()
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    "name the host in the URL as its certificate does, or have that name made part \
                     of its certificate"
                        .to_owned()
                }
                _ => "have it replaced".to_owned(),
            };
            HandshakeError::Fatal(format!("its certificate is not one to trust ({why}): {what}"))
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            refused(*alert).unwrap_or(HandshakeError::Io(error))
        }
        Some(why @ rustls::Error::InvalidMessage(_)) => hint(why),
        None if matches!(
            error.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
        ) =>
        {
            hint(&error)
        }
        _ => HandshakeError::Io(error),
    }
}

/// Explains a first question without an answer: in TLS 1.3 a server checks the client's certificate
/// only after the client has completed the handshake.
pub(super) fn explained(error: HandshakeError) -> HandshakeError {
    let HandshakeError::Io(io) = &error else { return error };
    match inner(io) {
        Some(rustls::Error::AlertReceived(alert)) => refused(*alert).unwrap_or(error),
        _ => error,
    }
}

/// The TLS error within an error of the stream, or of the parser of replies.
fn inner(error: &io::Error) -> Option<&rustls::Error> {
    let held = error.get_ref()?;
    if let Some(tls) = held.downcast_ref() {
        return Some(tls);
    }
    let source = held.downcast_ref::<RedisError>()?.source()?;
    inner(source.downcast_ref::<Arc<dyn Error + Send + Sync>>()?.downcast_ref()?)
}

/// Explains a server's alert about our certificate, if it is one.
fn refused(alert: AlertDescription) -> Option<HandshakeError> {
    use AlertDescription as Alert;
    let what = match alert {
        Alert::CertificateRequired => {
            "it wants a client's certificate: --redis-cert and --redis-key name one"
        }
        // Before TLS 1.3 the same, among other things.
        Alert::HandshakeFailure => {
            "it ended the TLS handshake: if it wants a client's certificate, --redis-cert and \
             --redis-key name one"
        }
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::DecryptError => {
            "it does not take the certificate of --redis-cert: an authority that it knows \
             (tls-ca-cert-file) must have signed one that is still valid"
        }
        _ => return None,
    };
    Some(HandshakeError::Fatal(format!("{what} (it says {alert:?})")))
}

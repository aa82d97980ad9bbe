//! TLS to Redis: whom to trust, and what a failed handshake means.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::HandshakeError;

/// Settings that trust the roots in this PEM file, or the system's.
pub(crate) fn tls_config(ca: Option<&Path>) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let name = path.display();
            let unreadable = |error| io::Error::other(format!("{name}: {error}"));
            for root in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                roots.add(root.map_err(unreadable)?).map_err(io::Error::other)?;
            }
            if roots.is_empty() {
                return Err(io::Error::other(format!("{name} holds no certificate")));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Who must act on a failed TLS handshake.
pub(super) fn tls_failure(error: io::Error) -> HandshakeError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => HandshakeError::Fatal(format!(
            "its certificate is not one to trust ({why}): --redis-ca names the authority that \
             signed it"
        )),
        _ => HandshakeError::Io(error),
    }
}

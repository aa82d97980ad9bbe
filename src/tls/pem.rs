//! Certificates and private keys in PEM files.

use std::io;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// All certificates of a file: one at least.
///
/// # Errors
/// It can't be read, or has none. The file is named.
pub fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let name = path.display();
    let unreadable = |error| io::Error::other(format!("{name}: {error}"));
    let all = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    match all.is_empty() {
        true => Err(io::Error::other(format!("{name} holds no certificate"))),
        false => Ok(all),
    }
}

/// The private key of a file.
///
/// # Errors
/// It can't be read, or has none that can be read without a password. The file is named.
pub fn private_key(path: &Path) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        let name = path.display();
        io::Error::other(format!("{name}: no private key (without a password): {error}"))
    })
}

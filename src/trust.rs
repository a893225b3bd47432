//! Whom a TLS connection of ours trusts: the system's certificates, and those of `EXTRA_CA_FILE`.
//!
//! Owns how certificates become a configuration of rustls. It does not connect.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The certificates of a PEM file. Each text reads after the file's name.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(certificates)
}

/// How many certificates the system trusts.
pub(crate) fn system_certificates() -> usize {
    let mut roots = RootCertStore::empty();
    roots
        .add_parsable_certificates(rustls_native_certs::load_native_certs().certs)
        .0
}

/// A client that trusts nobody, for connections without TLS.
pub(crate) fn nobody() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// A client that offers HTTP/2. Loads the system's certificates, which are larger than the rest of an idle
/// sidecar: call it when a connection is needed.
pub(crate) fn client(extra: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // A host without certificates can still call plain http and what EXTRA_CA_FILE vouches for.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(extra.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

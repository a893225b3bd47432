//! Certificates for the scripted model: its own authority, made for each test.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::must;

/// A certificate for `localhost` or other names, and the authority that vouches for it.
#[derive(Debug)]
pub(crate) struct Identity {
    authority_pem: String,
    config: Arc<ServerConfig>,
}

// === impl Identity ===

impl Identity {
    pub(crate) fn new() -> Self {
        Self::of(&["localhost"])
    }

    pub(crate) fn of(names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = must(CertifiedIssuer::self_signed(
            params,
            must(KeyPair::generate()),
        ));
        let key = must(KeyPair::generate());
        let params = must(CertificateParams::new(
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        ));
        let certificate = must(params.signed_by(&key, &authority));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = must(
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions(),
        );
        let key = must(PrivateKeyDer::try_from(key.serialize_der()));
        let mut config = must(
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key),
        );
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            authority_pem: authority.pem(),
            config: Arc::new(config),
        }
    }

    /// What `EXTRA_CA_FILE` is to hold.
    pub(crate) fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

//! Whose certificates count.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// For a site: the authorities of `ca_file` alone, or without one the system's.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(match ca_file {
        Some(path) => of_file(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    });
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // A WebSocket begins with HTTP/1.1 (RFC 6455, section 4.1).
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn of_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |why: &str| format!("'{}': {why}", path.display());
    let pem = std::fs::read(path).map_err(|e| fault(&e.to_string()))?;
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| fault("it is not PEM"))?;
    if certificates.is_empty() { Err(fault("no certificate is in it")) } else { Ok(certificates) }
}

//! Whose certificates count.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::HttpFault;

/// The certificates of `ca_file` alone, or without one the system's.
///
/// # Errors
/// A file that can't be read or holds none. A system without certificates is no error until TLS is spoken.
pub(crate) fn roots(ca_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, HttpFault> {
    let Some(path) = ca_file else { return Ok(rustls_native_certs::load_native_certs().certs) };
    let fault = |why: String| HttpFault::Certificates { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| fault("it is not PEM".to_owned()))?;
    if certificates.is_empty() {
        return Err(fault("there is none in it".to_owned()));
    }
    Ok(certificates)
}

/// For whatever speaks TLS.
///
/// # Errors
/// As [`roots`].
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, HttpFault> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots(ca_file)?);
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpFault::Tls(error.to_string()))?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

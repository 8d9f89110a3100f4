//! Certificates that nobody should trust, and that a health monitor does not ask about.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

/// A certificate and its key in files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// One that vouches for itself.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn self_signed(directory: &Path, name: &str) -> Result<Self> {
        Self::make(directory, "self-signed", name, |_| {})
    }

    /// The same, and it has expired years ago.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn expired(directory: &Path, name: &str) -> Result<Self> {
        Self::make(directory, "expired", name, |parameters| {
            parameters.not_before = date_time_ymd(2019, 1, 1);
            parameters.not_after = date_time_ymd(2020, 1, 1);
        })
    }

    fn make(directory: &Path, file: &str, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Result<Self> {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).context("name a certificate")?;
        change(&mut parameters);
        let key = KeyPair::generate().context("make a key")?;
        let certificate = parameters.self_signed(&key).context("sign a certificate")?;
        let files =
            Self { certificate: directory.join(format!("{file}.pem")), key: directory.join(format!("{file}.key.pem")) };
        fs::write(&files.certificate, certificate.pem())
            .with_context(|| format!("write {}", files.certificate.display()))?;
        fs::write(&files.key, key.serialize_pem()).with_context(|| format!("write {}", files.key.display()))?;
        Ok(files)
    }
}

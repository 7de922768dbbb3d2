//! Certificates for a test: authorities, and what they certify.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// When a certificate is valid, as seen from this century.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valid {
    /// Now, and for long.
    Now,
    /// Until some years ago.
    Before,
    /// From some decades ahead.
    Later,
}

/// An authority of its own, whom nobody trusts without being told to.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, both as PEM.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one; no two are the same, whatever their names.
    ///
    /// # Panics
    /// If no key can be made.
    #[must_use]
    pub fn new(name: &str, valid: Valid) -> Self {
        let mut params = params(name, valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().expect("the system has random numbers");
        let certificate = params
            .self_signed(&key)
            .expect("the parameters are complete");
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// The certificate of the authority itself, as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Certifies a server, or a client, under these hosts; for a client the first is its name.
    ///
    /// # Panics
    /// If a host is no name.
    #[must_use]
    pub fn certify(&self, hosts: &[&str], valid: Valid) -> Certified {
        let mut params = params(hosts.first().unwrap_or(&""), valid);
        params.subject_alt_names = hosts
            .iter()
            .map(|&host| match host.parse() {
                Ok(address) => rcgen::SanType::IpAddress(address),
                Err(_) => rcgen::SanType::DnsName(host.try_into().expect("it is a name")),
            })
            .collect();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("the system has random numbers");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the parameters are complete");
        Certified {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Certified {
    /// Writes both into a folder, as `NAME.pem` and `NAME-key.pem`; each at once, so that no reader
    /// sees half of it.
    ///
    /// # Panics
    /// If the folder cannot be written to.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        (
            put(folder, &format!("{name}.pem"), &self.certificate),
            put(folder, &format!("{name}-key.pem"), &self.key),
        )
    }
}

/// Writes a file at once, so that no reader sees half of it; a key's owner alone may read it.
///
/// # Panics
/// If the folder cannot be written to.
pub fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = tempfile::NamedTempFile::new_in(folder).expect("the folder is writable");
    std::fs::write(file.path(), text).expect("the file is writable");
    let path = folder.join(name);
    file.persist(&path).expect("the folder is writable");
    path
}

fn params(name: &str, valid: Valid) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let (from, until) = match valid {
        Valid::Now => (2020, 2090),
        Valid::Before => (2001, 2011),
        Valid::Later => (2080, 2090),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

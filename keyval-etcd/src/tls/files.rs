//! From the files of certificates and keys to what a handshake needs, or why they are of no use.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, Error as TlsError, RootCertStore};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::unusable::Unusable;
use super::validity::Validity;
use super::verify::Anyone;
use crate::config::EtcdConfig;

type Result<T, E = Unusable> = std::result::Result<T, E>;

/// No bundle of certificates is larger; the system's is a quarter of this.
const LARGEST: u64 = 1 << 20;

/// Where certificates and keys are, and whom to trust without them.
#[derive(Debug)]
pub(super) struct Files {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    anyone: bool,
    /// Whom the system trusts, read once; empty if that is not asked for.
    system: RootCertStore,
}

/// What the files held at one time.
pub(super) struct Contents {
    ca: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

/// Tells contents apart without keeping them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Files {
    /// The files that a configuration names; reads whom the system trusts if it names none.
    pub(super) fn new(config: &EtcdConfig) -> Result<Self> {
        let anyone = config.insecure_skip_tls_verify;
        let system = if anyone || config.ca_file.is_some() {
            RootCertStore::empty()
        } else {
            trusted_by_the_system()?
        };
        Ok(Self {
            ca: config.ca_file.clone(),
            certificate: config.cert_file.clone(),
            key: config.key_file.clone(),
            anyone,
            system,
        })
    }

    /// Reads all of them.
    pub(super) fn read(&self) -> Result<Contents> {
        Ok(Contents {
            ca: read("ca-file", self.ca.as_deref())?,
            certificate: read("cert-file", self.certificate.as_deref())?,
            key: read("key-file", self.key.as_deref())?,
        })
    }

    /// What is wrong with any of them, as far as that can be said of each apart from the others.
    pub(super) fn faults(&self) -> Vec<Unusable> {
        let mut faults = Vec::new();
        let mut content = |key, path: &Option<PathBuf>| {
            let content = read(key, path.as_deref());
            content.unwrap_or_else(|unusable| {
                faults.push(unusable);
                None
            })
        };
        // What cannot be read is missing from here on, and no more is found wrong with it.
        let contents = Contents {
            ca: content("ca-file", &self.ca),
            certificate: content("cert-file", &self.certificate),
            key: content("key-file", &self.key),
        };
        if !self.anyone {
            faults.extend(self.trusted(&contents).err());
        }
        let identity = self.identity(&contents, &ring::default_provider());
        faults.extend(identity.err());
        faults
    }

    /// What a handshake needs, from what the files held.
    pub(super) fn parse(&self, contents: &Contents) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("ring can do both versions");
        let builder = if self.anyone {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider.clone())))
        } else {
            builder.with_root_certificates(self.trusted(contents)?)
        };
        let mut config = match self.identity(contents, &provider)? {
            Some(identity) => builder.with_client_cert_resolver(identity),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    fn trusted(&self, contents: &Contents) -> Result<RootCertStore> {
        let (Some(path), Some(text)) = (&self.ca, &contents.ca) else {
            return Ok(self.system.clone());
        };
        let refused = |why: &str, remedy: &str| Unusable::file("ca-file", path, why, remedy);
        let certificates = certificates("ca-file", path, text)?;
        let mut trusted = RootCertStore::empty();
        let mut fault = None;
        let now = SystemTime::now();
        for (at, certificate) in certificates.into_iter().enumerate() {
            // An authority that has expired may stand in a bundle beside its successor.
            match Validity::of(&certificate).and_then(|validity| validity.fault(now)) {
                Some(expired) => fault = Some(expired),
                None => trusted.add(certificate).map_err(|error| {
                    refused(
                        &format!("its certificate number {} is not one: {error}", at + 1),
                        "name a file with the certificate of the authority that issued the server's",
                    )
                })?,
            }
        }
        match fault {
            Some(fault) if trusted.is_empty() => {
                Err(refused(&fault, "renew the certificate, or set the clock"))
            }
            _ => Ok(trusted),
        }
    }

    fn identity(
        &self,
        contents: &Contents,
        provider: &CryptoProvider,
    ) -> Result<Option<Arc<dyn ResolvesClientCert>>> {
        let (Some(cert_file), Some(cert)) = (&self.certificate, &contents.certificate) else {
            return Ok(None);
        };
        let (Some(key_file), Some(key)) = (&self.key, &contents.key) else {
            return Ok(None);
        };
        let chain = certificates("cert-file", cert_file, cert)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            Unusable::file(
                "key-file",
                key_file,
                &words_of_pem(&error, "private key"),
                "name a file with one private key, without a password",
            )
        })?;
        let validity = Validity::of(&chain[0]);
        if let Some(fault) = validity.and_then(|validity| validity.fault(SystemTime::now())) {
            return Err(Unusable::file(
                "cert-file",
                cert_file,
                &fault,
                "renew the certificate, or set the clock",
            ));
        }
        let identity =
            CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
                TlsError::InconsistentKeys(_) => Unusable::file(
                    "key-file",
                    key_file,
                    &format!(
                        "the key is not that of the certificate in {}",
                        cert_file.display()
                    ),
                    "name the two files that belong together",
                ),
                TlsError::InvalidCertificate(fault) => Unusable::file(
                    "cert-file",
                    cert_file,
                    &format!("its first certificate is not one: {fault:?}"),
                    "name a file with our certificate",
                ),
                _ => Unusable::file(
                    "key-file",
                    key_file,
                    "a key of this kind cannot be used",
                    "use one of the kinds RSA, ECDSA P-256 or P-384, and Ed25519",
                ),
            })?;
        Ok(Some(Arc::new(SingleCertAndKey::from(identity))))
    }

    /// Warns of a key that others on this machine can read.
    pub(super) fn warn_of_an_open_key(&self) {
        if let Some(path) = &self.key
            && others_can_read(path)
        {
            warn!(
                path = %path.display(),
                "others on this machine can read the key-file for etcd: allow it to its owner only"
            );
        }
    }
}

impl Contents {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for file in [&self.ca, &self.certificate, &self.key] {
            let file = file.as_deref().unwrap_or_default();
            hash.update(file.len().to_be_bytes());
            hash.update(file);
        }
        Fingerprint(hash.finalize().into())
    }
}

fn trusted_by_the_system() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut trusted = RootCertStore::empty();
    // Some in such stores are too old to be parsed, which is no reason to distrust the others.
    trusted.add_parsable_certificates(found.certs);
    if trusted.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})"));
        let told = format!(
            "is not set, and the system trusts no authority{}: name the one that issued etcd's \
             certificate, or install the system's package of authorities",
            why.unwrap_or_default()
        );
        return Err(Unusable {
            key: "ca-file",
            told,
        });
    }
    Ok(trusted)
}

/// Reads a file, if there is one to be read.
fn read(key: &'static str, path: Option<&Path>) -> Result<Option<Vec<u8>>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let content = content(path).map_err(|error| {
        Unusable::file(
            key,
            path,
            &error.to_string(),
            "name a file of PEM that this program may read",
        )
    })?;
    Ok(Some(content))
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer, perhaps for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    // The size is not asked for: the file may grow while it is read.
    File::open(path)?
        .take(LARGEST + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(content)
}

/// All certificates in a text; at least one.
fn certificates(
    key: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.and_then(|found| match found.is_empty() {
        true => Err(PemError::NoItemsFound),
        false => Ok(found),
    });
    found.map_err(|error| {
        Unusable::file(
            key,
            path,
            &words_of_pem(&error, "certificate"),
            "name a file with certificates as PEM",
        )
    })
}

/// What is wrong with a PEM. Its own words may repeat the text, which may be a key.
fn words_of_pem(error: &PemError, expected: &str) -> String {
    match error {
        PemError::NoItemsFound => format!("it holds no {expected} as PEM"),
        _ => "its PEM is damaged".to_owned(),
    }
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o007 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> bool {
    false
}

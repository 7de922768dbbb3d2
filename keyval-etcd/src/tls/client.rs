//! Our side of encrypted connections, with certificates that follow their files.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use keyval::{Error, Outcome, Result};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use super::failure;
use super::files::{Files, Fingerprint};
use super::unusable::Unusable;
use crate::config::EtcdConfig;

/// An encrypted connection.
pub(crate) type TlsStream = BufReader<tokio_rustls::client::TlsStream<TcpStream>>;

/// Room for the server's first word, and less than what is read at a time later, so that nothing
/// is copied twice then.
const FIRST_WORD: usize = 512;
/// How long to wait for the server's first word.
const FIRST_WORD_WITHIN: Duration = Duration::from_millis(250);

/// What it takes to encrypt connections.
pub(crate) struct Tls {
    files: Arc<Files>,
    current: Mutex<Current>,
}

struct Current {
    /// What was looked at last, of use or not, so that each change is judged once.
    seen: Option<Fingerprint>,
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads and checks all files that the configuration names.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the file, what is wrong with it and what to do.
    pub(crate) async fn load(config: &EtcdConfig) -> Result<Self> {
        let config = config.clone();
        let loaded = blocking(move || {
            let files = Files::new(&config)?;
            let contents = files.read()?;
            let config = files.parse(&contents)?;
            files.warn_of_an_open_key();
            Ok((files, contents.fingerprint(), config))
        });
        let (files, seen, config) = loaded.await?;
        Ok(Self {
            files: Arc::new(files),
            current: Mutex::new(Current {
                seen: Some(seen),
                config: Arc::new(config),
            }),
        })
    }

    /// Reads and checks all files that the configuration names, as loading does, and tells every key at
    /// fault.
    pub(crate) fn inspect(config: &EtcdConfig) -> Vec<Unusable> {
        match Files::new(config) {
            Ok(files) => files.faults(),
            Err(unusable) => vec![unusable],
        }
    }

    /// Encrypts a connection to this host.
    ///
    /// # Errors
    /// Why the handshake failed, in words for a person, with the cause below.
    pub(crate) async fn wrap(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| io::Error::other("the host of the endpoint is no name for TLS"))?;
        let config = self.renewed().await;
        let shown = config.client_auth_cert_resolver.has_certs();
        let connector = TlsConnector::from(config);
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| failure::explain(error, shown))?;
        let mut stream = BufReader::with_capacity(FIRST_WORD, stream);
        // In TLS 1.3 the server judges our certificate after our side of the handshake is over, and
        // HTTP/2 would lose its words. A server of HTTP/2 speaks first; one that waits may do so.
        match timeout(FIRST_WORD_WITHIN, stream.fill_buf()).await {
            Ok(Ok([])) => {
                let ended = io::ErrorKind::UnexpectedEof.into();
                Err(failure::explain_first(ended, shown))
            }
            Ok(Err(error)) => Err(failure::explain_first(error, shown)),
            Ok(Ok(_)) | Err(_) => Ok(stream),
        }
    }

    /// What the files hold now, or held when they were last of use.
    async fn renewed(&self) -> Arc<ClientConfig> {
        let files = self.files.clone();
        let seen = self.current.lock().seen;
        let looked = blocking(move || {
            let contents = match files.read() {
                Ok(contents) => contents,
                Err(unusable) => return Ok((None, Some(Err(unusable.into())))),
            };
            let fingerprint = Some(contents.fingerprint());
            if fingerprint == seen {
                return Ok((fingerprint, None));
            }
            files.warn_of_an_open_key();
            Ok((
                fingerprint,
                Some(files.parse(&contents).map_err(Error::from)),
            ))
        });
        let (fingerprint, parsed) = looked
            .await
            .unwrap_or_else(|error| (None, Some(Err(error))));
        let mut current = self.current.lock();
        if fingerprint != current.seen {
            current.seen = fingerprint;
            match parsed {
                Some(Ok(config)) => {
                    info!("the certificates for etcd have changed and are used from now on");
                    current.config = Arc::new(config);
                }
                Some(Err(error)) => {
                    warn!(%error, "the new certificates for etcd are of no use; the old stay in use");
                }
                None => {}
            }
        }
        current.config.clone()
    }
}

/// Reads files where waiting for a disk holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| {
        let message = "the runtime ended while certificates were read";
        Err(Error::backend(message, Outcome::NotApplied))
    })
}

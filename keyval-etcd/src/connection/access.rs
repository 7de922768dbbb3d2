//! How the endpoints of a store are spoken to: in plain text or encrypted, and as whom.

use std::future::Future;
use std::sync::Arc;

use etcd_client::{AuthClient, Channel as StubChannel};
use keyval::{Error, Result};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;

use crate::config::{EtcdConfig, Scheme, Transport};
use crate::connection::channel::Channel;
use crate::connection::opener::Open;
use crate::login::Login;
use crate::tls::Tls;

/// What all connections to all endpoints share.
#[derive(Clone, Default)]
pub(crate) struct Access {
    pub(crate) tls: Option<Arc<Tls>>,
    /// What opens them; the operating system if it is none.
    pub(crate) opener: Option<Arc<Open>>,
    login: Option<Arc<Login>>,
}

impl Access {
    /// What a configuration says for these endpoints.
    ///
    /// # Errors
    /// [`keyval::Error::Invalid`] for keys that do not go with each other or with the endpoints, and
    /// for files of no use.
    pub(crate) async fn new(
        config: &EtcdConfig,
        endpoints: &[String],
        opener: Option<Arc<Open>>,
    ) -> Result<Self> {
        let tls = match config.transport(endpoints)? {
            Transport::Plain => None,
            Transport::Tls if opener.is_some() => {
                return Err(Error::invalid(
                    "connections that are opened elsewhere are in plain text: leave out TLS",
                ));
            }
            Transport::Tls => Some(Arc::new(Tls::load(config).await?)),
        };
        let login = Login::new(config).map(Arc::new);
        Ok(Self { tls, opener, login })
    }

    /// How every endpoint is reached, whatever it says itself.
    pub(crate) fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }

    /// Whether requests show a token.
    pub(crate) fn logs_in(&self) -> bool {
        self.login.is_some()
    }

    /// A connection for the stubs, whose requests show who we are.
    pub(crate) fn authorize(&self, channel: Channel) -> StubChannel {
        match &self.login {
            Some(login) => login.authorize(channel),
            // Nothing to show, and nothing to pay for it.
            None => StubChannel::Custom(BoxCloneSyncService::new(channel)),
        }
    }

    /// Sends a request; once more if that takes a login before, for which there is time until then.
    pub(crate) async fn send<T, F>(
        &self,
        auth: &AuthClient,
        login_by: Instant,
        send: impl Fn() -> F,
    ) -> Result<T, etcd_client::Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        match &self.login {
            // Boxed, to keep the calls small of those who do not log in.
            Some(login) => Box::pin(login.send(auth, login_by, send)).await,
            // Boxed, as the future of a stub is large, and would be copied at every step to here.
            None => Box::pin(send()).await,
        }
    }

    /// How often the token was changed; never where there is none.
    pub(crate) fn logins(&self) -> u64 {
        self.login.as_ref().map_or(0, |login| login.changes())
    }

    /// Logs in before anything is asked that needs it, so that a refusal is told at once.
    ///
    /// # Errors
    /// That of the login.
    pub(crate) async fn log_in(&self, auth: &AuthClient) -> Result<(), etcd_client::Error> {
        match &self.login {
            Some(login) => login.renew(0, auth).await,
            None => Ok(()),
        }
    }
}

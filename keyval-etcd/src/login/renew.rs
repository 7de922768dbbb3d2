//! One login at a time, for all who found their token refused.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_client::{AuthClient, Channel as StubChannel};
use http::header::HeaderValue;
use http::{Request, Response};
use keyval_config::Secret;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tower::BoxError;
use tower::util::BoxCloneSyncService;
use tower_service::Service;
use tracing::{debug, warn};

use super::account::Account;
use super::token::{Authorized, Token};
use crate::config::EtcdConfig;
use crate::error;

/// The answer to a call of the stub.
type StubResult<T> = Result<T, etcd_client::Error>;

/// For how long a refused password is not tried again. Checking one is made to be slow, and many
/// callers may ask at once.
const REFUSED_FOR: Duration = Duration::from_secs(5);

const REFRESHES: &str = "keyval_auth_refresh_total";

/// The login that all connections of a store share.
pub(crate) struct Login {
    account: Account,
    token: Token,
    /// Held by whoever logs in.
    refused: Mutex<Option<Refused>>,
    told_that_it_is_off: AtomicBool,
}

/// A password that the server refused.
struct Refused {
    password: Secret,
    at: Instant,
    status: Status,
}

impl Login {
    /// The login that a configuration asks for, if it does.
    pub(crate) fn new(config: &EtcdConfig) -> Option<Self> {
        Some(Self {
            account: Account::new(config)?,
            token: Token::default(),
            refused: Mutex::new(None),
            told_that_it_is_off: AtomicBool::new(false),
        })
    }

    /// A connection whose requests show the token.
    pub(crate) fn authorize<C>(&self, channel: C) -> StubChannel
    where
        C: Service<Request<Body>, Response = Response<Body>, Error = BoxError>,
        C: Clone + Send + Sync + 'static,
        C::Future: Send + 'static,
    {
        let authorized = Authorized::new(channel, self.token.clone());
        StubChannel::Custom(BoxCloneSyncService::new(authorized))
    }

    /// How often the token was changed, to be asked before a request is sent.
    pub(crate) fn changes(&self) -> u64 {
        self.token.changes()
    }

    /// Sends a request, once more after a login if its token is refused. That is safe for any
    /// request: a refused one was not carried out.
    ///
    /// # Errors
    /// That of the request. If the login brings no token by then, one that says that nothing was
    /// sent, unless the password was refused, which no other endpoint would take either.
    pub(crate) async fn send<T, F>(
        &self,
        auth: &AuthClient,
        login_by: Instant,
        send: impl Fn() -> F,
    ) -> StubResult<T>
    where
        F: Future<Output = StubResult<T>>,
    {
        let changes = self.changes();
        match send().await {
            Err(failure) if error::token_refused(&failure) => {
                match timeout_at(login_by, self.renew(changes, auth)).await {
                    Ok(Ok(())) => send().await,
                    Ok(Err(failure)) if error::password_refused(&failure).is_some() => Err(failure),
                    Ok(Err(failure)) => Err(error::not_logged_in(&error::words(&failure))),
                    Err(_) => Err(error::not_logged_in("no answer in time")),
                }
            }
            answered => answered,
        }
    }

    /// Logs in, unless somebody has since the token had changed this often.
    ///
    /// # Errors
    /// That of the login; a refused password is remembered for a short time, so that it is not sent
    /// again and again.
    pub(crate) async fn renew(&self, changes: u64, auth: &AuthClient) -> StubResult<()> {
        let mut refused = self.refused.lock().await;
        if self.changes() != changes {
            return Ok(());
        }
        let password = self.account.password().await;
        let password = password.map_err(|why| stub_error(Status::unauthenticated(why)))?;
        if let Some(refused) = &*refused
            && refused.at.elapsed() < REFUSED_FOR
            && refused.password == password
        {
            return Err(stub_error(refused.status.clone()));
        }
        let user = self.account.user().expose().to_owned();
        let mut auth = auth.clone();
        let answered = auth.authenticate(user, password.expose().to_owned()).await;
        count(&answered);
        match answered {
            Ok(reply) => {
                let token = HeaderValue::try_from(reply.token()).map_err(|_| {
                    stub_error(Status::internal("etcd gave a token that is not text"))
                })?;
                debug!("logged in to etcd");
                *refused = None;
                self.told_that_it_is_off.store(false, Ordering::Relaxed);
                self.token.change(Some(token));
                Ok(())
            }
            Err(failure) if error::login_is_off(&failure) => {
                if !self.told_that_it_is_off.swap(true, Ordering::Relaxed) {
                    warn!("etcd wants no login, so the user and the password for it are not used");
                }
                self.token.change(None);
                Ok(())
            }
            Err(failure) => {
                if let Some(status) = error::password_refused(&failure) {
                    *refused = Some(Refused {
                        password,
                        at: Instant::now(),
                        status,
                    });
                }
                Err(failure)
            }
        }
    }
}

/// Counts a login that was asked for.
fn count<T>(answered: &StubResult<T>) {
    let outcome = match answered {
        Ok(_) => "ok",
        Err(failure) if error::login_is_off(failure) => "off",
        Err(failure) if error::password_refused(failure).is_some() => "refused",
        Err(_) => "failed",
    };
    metrics::describe_counter!(REFRESHES, "Logins that servers were asked for.");
    metrics::counter!(REFRESHES, "outcome" => outcome).increment(1);
}

fn stub_error(status: Status) -> etcd_client::Error {
    etcd_client::Error::GRpcStatus(status)
}

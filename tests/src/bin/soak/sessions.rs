//! Sessions with a key each, which have to be there whenever all is calm.

use std::time::Duration;

use keyval::BrokerExt;
use keyval::recipes::Session;
use keyval::testing::history::Recorder;
use keyval_etcd::EtcdStore;

/// Shorter than the longest fault, so that some sessions are lost, and made anew.
const TTL: Duration = Duration::from_secs(6);
/// Between two looks at a key that has to come back.
const LOOK: Duration = Duration::from_millis(100);

/// A session and its key.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) key: String,
    session: Session,
}

impl Kept {
    /// Opens a session on a store, and puts a key that lives with it.
    pub(crate) async fn open(
        number: usize,
        store: &EtcdStore,
        recorder: &Recorder,
    ) -> keyval::Result<Self> {
        let session = Session::open(recorder.client(store.clone()), TTL).await?;
        let key = format!("s/{number}");
        session.put(&key, "here").await?;
        Ok(Self { key, session })
    }

    /// Waits until the key is there, and lives with the present lease of the session.
    pub(crate) async fn is_there(&self, member: &EtcdStore) {
        loop {
            if let Ok(Some(entry)) = member.get(&self.key).await
                && entry.lease == Some(self.session.lease())
                && self.session.is_alive()
            {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

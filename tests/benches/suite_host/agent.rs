//! An agent with a store, as programs have it.

use keyval::Connector;
use keyval_config::Settings;
use plugin_runtime::{ConfigDir, Host, KvHandle, KvPlugin, State};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running agent whose one plugin is a store.
pub(crate) struct Agent {
    pub(crate) store: KvHandle,
    shut_down: oneshot::Sender<()>,
    run: JoinHandle<plugin_runtime::Result<()>>,
    _folder: TempDir,
}

impl Agent {
    /// Starts one with these settings of the store, and waits until it is connected.
    pub(crate) async fn start<C: Connector<Config: Settings>>(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("store.yaml"), settings).expect("a file");
        let mut host = Host::new(ConfigDir::new(folder.path()));
        let store = host.add(KvPlugin::<C>::named("store"));
        let status = host.status();
        let (shut_down, told) = oneshot::channel();
        let run = tokio::spawn(host.run(async move { drop(told.await) }));
        status.wait_for(|agent| agent.state() == State::Ok).await;
        Self {
            store,
            shut_down,
            run,
            _folder: folder,
        }
    }

    pub(crate) async fn stop(self) {
        self.shut_down.send(()).expect("the agent runs");
        let ended = self.run.await.expect("the agent does not panic");
        ended.expect("the agent is well");
    }
}

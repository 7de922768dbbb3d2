//! What can be wrong with one member of a cluster although it is reached.

use std::sync::Arc;

use tokio::sync::watch;

/// What a member does not do. Whatever it is, it answers for its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plight {
    /// It is well.
    #[default]
    None,
    /// It is cut off from the others: it knows no leader, and answers neither calls nor logins.
    CutOff,
    /// It knows a leader, and answers neither calls nor logins.
    Stalled,
    /// It answers no login.
    NoLogins,
    /// It answers reads, and no writes.
    NoWrites,
}

/// The plight of one member, which a test can change at any time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ailing(Arc<watch::Sender<Plight>>);

impl Ailing {
    pub(crate) fn become_so(&self, plight: Plight) {
        self.0.send_replace(plight);
    }

    pub(crate) fn knows_leader(&self) -> bool {
        *self.0.borrow() != Plight::CutOff
    }

    /// Waits until reads are answered.
    pub(crate) async fn answers_reads(&self) {
        let good = [Plight::None, Plight::NoLogins, Plight::NoWrites];
        self.until(|plight| good.contains(&plight)).await;
    }

    /// Waits until writes are answered.
    pub(crate) async fn answers_writes(&self) {
        let good = [Plight::None, Plight::NoLogins];
        self.until(|plight| good.contains(&plight)).await;
    }

    /// Waits until logins are answered.
    pub(crate) async fn answers_logins(&self) {
        let good = [Plight::None, Plight::NoWrites];
        self.until(|plight| good.contains(&plight)).await;
    }

    async fn until(&self, better: impl Fn(Plight) -> bool) {
        let mut plight = self.0.subscribe();
        // An error says that the server is gone, and whoever waits with it.
        let _ = plight.wait_for(|plight| better(*plight)).await;
    }
}

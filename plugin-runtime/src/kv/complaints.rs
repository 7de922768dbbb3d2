//! What is wrong although the store answers: kept until it is put right.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What is wrong with the upkeep of a store, by its subject.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    present: Mutex<BTreeMap<String, String>>,
    changed: Notify,
}

impl Complaints {
    /// Something is wrong.
    pub(crate) fn raise(&self, subject: &str, cause: impl Into<String>) {
        let (subject, cause) = (subject.to_owned(), cause.into());
        let before = self.present.lock().insert(subject, cause.clone());
        if before != Some(cause) {
            self.changed.notify_one();
        }
    }

    /// It is right now.
    pub(crate) fn settle(&self, subject: &str) {
        if self.present.lock().remove(subject).is_some() {
            self.changed.notify_one();
        }
    }

    /// All of them, each as `subject: cause`.
    pub(crate) fn list(&self) -> Vec<String> {
        let present = self.present.lock();
        let lines = present
            .iter()
            .map(|(subject, cause)| format!("{subject}: {cause}"));
        lines.collect()
    }

    /// Waits for a change since this was last waited for; one task does.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

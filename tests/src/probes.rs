//! Asks the probes of an agent again and again, as an orchestrator does, and keeps every answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::http;

/// From one question to the next.
const EVERY: Duration = Duration::from_millis(50);
/// How long an answer may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is asked in turn.
const PATHS: [&str; 3] = ["/livez", "/readyz", "/startupz"];

/// An answer of a probe.
#[derive(Clone, Debug)]
pub struct Told {
    /// When it was asked.
    pub asked: Instant,
    /// What was asked.
    pub path: &'static str,
    /// The status of the answer; why there was none.
    pub status: Result<u16, String>,
    /// What it said.
    pub body: String,
}

/// Asks every probe each 50 ms, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Polled {
    answers: Arc<Mutex<Vec<Told>>>,
    /// How often every probe was asked.
    rounds: watch::Receiver<usize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Polled {
    /// Begins to ask.
    #[must_use]
    pub fn start(address: SocketAddr) -> Self {
        let (answers, stop) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (tell, rounds) = watch::channel(0);
        let thread = thread::spawn({
            let (answers, stop) = (answers.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let next = Instant::now() + EVERY;
                    for path in PATHS {
                        let told = ask(address, path);
                        answers.lock().push(told);
                    }
                    tell.send_modify(|rounds| *rounds += 1);
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            }
        });
        Self {
            answers,
            rounds,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits until every probe was asked again, and returns what this one answered since.
    ///
    /// # Panics
    /// If the thread that asks is gone.
    pub async fn now(&self, path: &str) -> Vec<Told> {
        let began = Instant::now();
        let mut rounds = self.rounds.clone();
        // The round that is under way began before.
        let enough = *rounds.borrow() + 3;
        let asked = rounds.wait_for(|rounds| *rounds >= enough).await;
        asked.expect("the thread asks until it is dropped");
        let answers = self.answers.lock();
        let since = answers.iter().filter(|told| told.asked >= began);
        since.filter(|told| told.path == path).cloned().collect()
    }

    /// What this probe has answered so far.
    #[must_use]
    pub fn all(&self, path: &str) -> Vec<Told> {
        let answers = self.answers.lock();
        let answers = answers.iter().filter(|told| told.path == path);
        answers.cloned().collect()
    }
}

fn ask(address: SocketAddr, path: &'static str) -> Told {
    let asked = Instant::now();
    let (status, body) = match http::ask(address, path, PATIENCE) {
        Ok((status, body)) => (Ok(status), body),
        Err(error) => (Err(error.to_string()), String::new()),
    };
    Told {
        asked,
        path,
        status,
        body,
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panics nowhere, and a test that fails shall say its own.
            drop(thread.join());
        }
    }
}

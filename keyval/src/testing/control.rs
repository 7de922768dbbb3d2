//! The handle by which a test makes a store fail, hang, slow down or fall silent.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::connection::{Connection, ConnectionReporter, EndpointFailure};
use crate::error::{Error, Outcome, Result};
use crate::testing::held::Write;
use crate::testing::operation::Operation;

/// What the connection of a faulty store says it is connected to.
const ENDPOINT: &str = "the store behind the faults";

/// One failure to come: the error, and whether the operation is carried out all the same.
///
/// # Examples
/// ```
/// use keyval::testing::Fault;
/// use keyval::{Error, Outcome};
///
/// let fault = Fault::new(|| Error::backend("out of order", Outcome::Unknown)).after_applying();
/// assert!(format!("{fault:?}").contains("applied: true"));
/// ```
#[derive(Clone)]
pub struct Fault {
    error: Arc<dyn Fn() -> Error + Send + Sync>,
    fate: Fate,
}

/// What becomes of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lost,
    Applied,
    Held,
}

impl Fault {
    /// Fails with this error; nothing reaches the store.
    #[must_use]
    pub fn new(error: impl Fn() -> Error + Send + Sync + 'static) -> Self {
        Self {
            error: Arc::new(error),
            fate: Fate::Lost,
        }
    }

    /// The store refuses: unavailable, certainly not applied.
    #[must_use]
    pub fn refused() -> Self {
        Self::new(|| Error::unavailable("a fault refused the call", Outcome::NotApplied))
    }

    /// The request is lost on its way: nothing is applied, but nobody can tell.
    #[must_use]
    pub fn request_lost() -> Self {
        Self::new(|| Error::unavailable("a fault lost the request", Outcome::Unknown))
    }

    /// The answer is lost on its way: the operation is carried out, but nobody can tell.
    #[must_use]
    pub fn answer_lost() -> Self {
        Self::new(|| Error::unavailable("a fault lost the answer", Outcome::Unknown))
            .after_applying()
    }

    /// The same failure, told after the operation was carried out.
    #[must_use]
    pub fn after_applying(mut self) -> Self {
        self.fate = Fate::Applied;
        self
    }

    /// A write is held on its way: nobody can tell what becomes of it, and it is carried out once
    /// [`Faulty::deliver_held`](crate::testing::Faulty::deliver_held) is called. Of all other
    /// operations the request is lost.
    #[must_use]
    pub fn request_held() -> Self {
        Self {
            fate: Fate::Held,
            ..Self::new(|| Error::unavailable("a fault held the request", Outcome::Unknown))
        }
    }

    /// Whether the operation is carried out before it is told to have failed.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.fate == Fate::Applied
    }

    /// The error to tell.
    #[must_use]
    pub fn error(&self) -> Error {
        (self.error)()
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("error", &self.error())
            .field("applied", &self.is_applied())
            .field("held", &(self.fate == Fate::Held))
            .finish()
    }
}

/// Makes a [`Faulty`](crate::testing::Faulty) store fail, hang, slow down or fall silent.
///
/// Clones control the same store. Until told otherwise, all is well.
///
/// # Examples
/// ```
/// use keyval::testing::{Fault, Faulty, Operation};
/// use keyval::{BrokerExt, Memory};
///
/// # tokio_test::block_on(async {
/// let store = Faulty::new(Memory::new());
/// let control = store.control();
/// control.fail_next(1, Fault::answer_lost());
/// let error = store.put("key", "value").await.unwrap_err();
/// assert!(error.may_have_applied());
/// assert_eq!(store.get("key").await?.unwrap().value, "value");
/// assert_eq!(control.calls(Operation::Put), 1);
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct FaultControl {
    shared: Arc<Shared>,
}

struct Shared {
    state: watch::Sender<State>,
    faults: Mutex<VecDeque<Due>>,
    held: Mutex<Vec<Write>>,
    calls: watch::Sender<[u64; Operation::COUNT]>,
    watches: AtomicUsize,
    connection: ConnectionReporter,
}

/// A fault that is due for the next so many calls.
#[derive(Debug)]
struct Due {
    operation: Option<Operation>,
    times: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    reach: Reach,
    silent: bool,
    delay: Duration,
    /// How often the store was cut off; a stream from before a cut is over, however soon it heals.
    cuts: u64,
}

/// Whether calls get through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reach {
    #[default]
    Open,
    Cut,
    Hung,
}

impl FaultControl {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: watch::Sender::new(State::default()),
                faults: Mutex::new(VecDeque::new()),
                held: Mutex::default(),
                calls: watch::Sender::new([0; Operation::COUNT]),
                watches: AtomicUsize::new(0),
                connection: ConnectionReporter::connected_to(ENDPOINT),
            }),
        }
    }

    /// Cuts the store off: every open watch and list ends with [`Error::Unavailable`], and so does
    /// every call, not applied, until [`heal`](Self::heal). A write that was already under way may
    /// have been applied, and says so.
    pub fn cut(&self) {
        self.shared.state.send_modify(|state| {
            state.reach = Reach::Cut;
            state.cuts += 1;
        });
        let cause = EndpointFailure::new(ENDPOINT, "it was cut off");
        self.shared.connection.disconnected(vec![cause]);
    }

    /// Lets every later call hang until [`heal`](Self::heal), upon which it is carried out, or
    /// until [`cut`](Self::cut), upon which it fails. Open watches go on.
    pub fn hang(&self) {
        self.shared
            .state
            .send_modify(|state| state.reach = Reach::Hung);
    }

    /// Lets watches stay open and deliver nothing, neither changes nor progress nor errors, until
    /// [`heal`](Self::heal), upon which they deliver all they held back. A cut still ends them.
    pub fn silence(&self) {
        self.shared.state.send_modify(|state| state.silent = true);
    }

    /// Delays every later call by this time, before it reaches the store.
    pub fn delay(&self, by: Duration) {
        self.shared.state.send_modify(|state| state.delay = by);
    }

    /// Ends the cut, the hanging, the silence, the delay, and the faults that are still due. What is
    /// held stays so.
    pub fn heal(&self) {
        self.shared.faults.lock().clear();
        self.shared.state.send_modify(|state| {
            *state = State {
                cuts: state.cuts,
                ..State::default()
            };
        });
        self.shared.connection.connected(ENDPOINT);
    }

    /// Fails the next calls of whatever operation, so many times.
    ///
    /// Faults are used up in the order in which they were set.
    pub fn fail_next(&self, times: usize, fault: Fault) {
        self.push(None, times, fault);
    }

    /// Fails the next calls of this operation, so many times; other operations go on.
    pub fn fail_next_of(&self, operation: Operation, times: usize, fault: Fault) {
        self.push(Some(operation), times, fault);
    }

    /// How often the operation was called, whatever came of it.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.shared.calls.borrow()[operation as usize]
    }

    /// Waits until the operation was called at least so often since the store was made.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn until_called(&self, operation: Operation, times: u64) {
        let mut calls = self.shared.calls.subscribe();
        // The sender lives as long as this handle, so that the wait cannot fail.
        let _ = calls
            .wait_for(|calls| calls[operation as usize] >= times)
            .await;
    }

    /// How many watches are open: made, and neither ended nor dropped.
    #[must_use]
    pub fn open_watches(&self) -> usize {
        self.shared.watches.load(Ordering::Acquire)
    }

    fn push(&self, operation: Option<Operation>, times: usize, fault: Fault) {
        if times > 0 {
            self.shared.faults.lock().push_back(Due {
                operation,
                times,
                fault,
            });
        }
    }

    /// Carries out a call as the state of things has it.
    pub(crate) async fn call<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.call_or_hold(operation, call, || {}).await
    }

    /// Carries out a write as the state of things has it, or holds it.
    pub(super) async fn write<T>(
        &self,
        write: Write,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let hold = || self.shared.held.lock().push(write.clone());
        self.call_or_hold(write.operation(), call, hold).await
    }

    /// Takes what is held, in the order in which it was sent.
    pub(super) fn take_held(&self) -> Vec<Write> {
        std::mem::take(&mut self.shared.held.lock())
    }

    async fn call_or_hold<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T>>,
        hold: impl Fn(),
    ) -> Result<T> {
        self.count(operation);
        let mut state = self.shared.state.subscribe();
        let delay = state.borrow().delay;
        if !delay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                _ = state.wait_for(|state| state.reach == Reach::Cut) => {}
            }
        }
        let cuts = match state.wait_for(|state| state.reach != Reach::Hung).await {
            Ok(state) if state.reach == Reach::Open => state.cuts,
            _ => return Err(cut(operation, Outcome::NotApplied)),
        };
        let fault = self.take(operation);
        if let Some(fault) = &fault
            && !fault.is_applied()
        {
            if fault.fate == Fate::Held {
                hold();
            }
            return Err(fault.error());
        }
        let reply = tokio::select! {
            biased;
            reply = call => reply?,
            _ = state.wait_for(|state| state.cuts != cuts) => {
                return Err(cut(operation, Outcome::Unknown));
            }
        };
        match fault {
            Some(fault) => Err(fault.error()),
            None => Ok(reply),
        }
    }

    /// Counts a call that no fault can touch.
    pub(crate) fn count(&self, operation: Operation) {
        self.shared
            .calls
            .send_modify(|calls| calls[operation as usize] += 1);
    }

    pub(crate) fn connection(&self) -> Connection {
        self.shared.connection.subscribe()
    }

    pub(crate) fn closed(&self) {
        self.shared.connection.closed();
    }

    /// The number of cuts so far, with which a stream is opened.
    pub(crate) fn cuts(&self) -> u64 {
        self.shared.state.borrow().cuts
    }

    /// A stream that is counted as an open watch, can be silenced, and ends when cut.
    pub(crate) fn watch_stream<T: Send + 'static>(
        &self,
        inner: impl Stream<Item = Result<T>> + Send + 'static,
        cuts: u64,
    ) -> impl Stream<Item = Result<T>> + Send + 'static {
        let open = OpenWatch::new(self);
        let stream = self.stream(inner, cuts, Operation::Watch, true);
        // The guard goes with the stream, dropped or ended.
        stream::unfold(Some((Box::pin(stream), open)), |state| async move {
            let (mut stream, open) = state?;
            let item = stream.next().await?;
            let rest = item.is_ok().then_some((stream, open));
            Some((item, rest))
        })
    }

    /// A stream that ends when cut.
    pub(crate) fn list_stream<T: Send + 'static>(
        &self,
        inner: impl Stream<Item = Result<T>> + Send + 'static,
        cuts: u64,
    ) -> impl Stream<Item = Result<T>> + Send + 'static {
        self.stream(inner, cuts, Operation::List, false)
    }

    fn stream<T: Send + 'static>(
        &self,
        inner: impl Stream<Item = Result<T>> + Send + 'static,
        cuts: u64,
        operation: Operation,
        can_be_silenced: bool,
    ) -> impl Stream<Item = Result<T>> + Send + 'static {
        let state = self.shared.state.subscribe();
        let control = self.clone();
        let start = Some((Box::pin(inner), state, control));
        stream::unfold(start, move |at| async move {
            let (mut inner, mut state, control) = at?;
            loop {
                let now = *state.borrow_and_update();
                if now.cuts != cuts {
                    return Some((Err(cut(operation, Outcome::NotApplied)), None));
                }
                let silent = can_be_silenced && now.silent;
                tokio::select! {
                    biased;
                    _ = state.changed() => {}
                    item = inner.next(), if !silent => {
                        return item.map(|item| (item, Some((inner, state, control))));
                    }
                }
            }
        })
    }

    fn take(&self, operation: Operation) -> Option<Fault> {
        let mut faults = self.shared.faults.lock();
        let index = faults
            .iter()
            .position(|due| due.operation.is_none_or(|of| of == operation))?;
        let due = faults.get_mut(index)?;
        due.times -= 1;
        let fault = due.fault.clone();
        if due.times == 0 {
            faults.remove(index);
        }
        Some(fault)
    }
}

impl fmt::Debug for FaultControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultControl")
            .field("state", &*self.shared.state.borrow())
            .field("due", &*self.shared.faults.lock())
            .field("held", &self.shared.held.lock().len())
            .field("open_watches", &self.open_watches())
            .finish_non_exhaustive()
    }
}

/// Counts one watch as open while it lives.
struct OpenWatch(FaultControl);

impl OpenWatch {
    fn new(control: &FaultControl) -> Self {
        control.shared.watches.fetch_add(1, Ordering::AcqRel);
        Self(control.clone())
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.shared.watches.fetch_sub(1, Ordering::AcqRel);
    }
}

fn cut(operation: Operation, outcome: Outcome) -> Error {
    Error::unavailable(format!("{operation}: the store was cut off"), outcome)
}

//! The promises of the host: order, containment, deadlines, and that every start has its close.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use plugin_runtime::{
    AgentStatus, Cause, ConfigDir, Context, Error, Host, Hysteresis, Phase, Plugin, PluginResult,
    Stage, State, StatusHandle,
};
use tokio::sync::oneshot;

/// What the plugins of a test did, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// What a plugin of a test does at one stage.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Succeed,
    Fail,
    Panic,
    Hang,
    /// Keeps the thread busy, without ever waiting.
    Block(Duration),
}

impl At {
    async fn run(self, what: &str) -> PluginResult {
        match self {
            Self::Succeed => Ok(()),
            Self::Fail => Err(format!("{what} went wrong").into()),
            Self::Panic => panic!("{what} went mad"),
            Self::Hang => std::future::pending().await,
            Self::Block(time) => {
                std::thread::sleep(time);
                Ok(())
            }
        }
    }
}

/// A plugin that writes down what is done to it.
struct Probe {
    name: &'static str,
    log: Log,
    init: At,
    after_init: At,
    close: At,
}

impl Probe {
    fn new(name: &'static str, log: &Log) -> Self {
        Self {
            name,
            log: log.clone(),
            init: At::Succeed,
            after_init: At::Succeed,
            close: At::Succeed,
        }
    }

    fn init(mut self, init: At) -> Self {
        self.init = init;
        self
    }

    fn after_init(mut self, after_init: At) -> Self {
        self.after_init = after_init;
        self
    }

    fn close(mut self, close: At) -> Self {
        self.close = close;
        self
    }

    async fn at(&self, stage: &str, at: At) -> PluginResult {
        self.log.add(format!("{stage} {}", self.name));
        at.run(self.name).await
    }
}

impl Plugin for Probe {
    type Handle = ();

    fn name(&self) -> &str {
        self.name
    }

    fn handle(&self) {}

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        self.at("init", self.init).await
    }

    async fn after_init(&mut self, _cx: &mut Context) -> PluginResult {
        self.at("after_init", self.after_init).await
    }

    async fn close(&mut self) -> PluginResult {
        self.at("close", self.close).await
    }
}

/// A plugin that panics when it is dropped.
struct Drops;

impl Plugin for Drops {
    type Handle = ();

    fn name(&self) -> &str {
        "drops"
    }

    fn handle(&self) {}

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        Ok(())
    }
}

impl Drop for Drops {
    fn drop(&mut self) {
        panic!("not so");
    }
}

/// A plugin that does what it is told in `init`, and nothing else.
struct Starts<F>(&'static str, F);

impl<F: FnMut(&mut Context) + Send + 'static> Plugin for Starts<F> {
    type Handle = ();

    fn name(&self) -> &str {
        self.0
    }

    fn handle(&self) {}

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        (self.1)(cx);
        Ok(())
    }
}

fn host() -> Host {
    Host::new(ConfigDir::new("/no/such/folder"))
        .with_start_deadline(Duration::from_secs(2))
        .with_close_deadline(Duration::from_secs(1))
}

/// Completes when every plugin is up.
async fn up(status: StatusHandle) {
    status.wait_for(|agent| agent.state() == State::Ok).await;
}

/// The first failure of a run: plugin, stage, cause.
fn first(error: &Error) -> (&str, Stage, &Cause) {
    match error {
        Error::Plugin { first, .. } => (&first.plugin, first.stage, &first.cause),
        other => panic!("no plugin failed: {other}"),
    }
}

#[tokio::test]
async fn a_host_without_plugins_starts_and_stops() {
    let host = host();
    let status = host.status();
    host.run(async {}).await.unwrap();
    assert_eq!(status.current().state(), State::Stopped);
}

#[tokio::test]
async fn a_shutdown_told_before_the_start_starts_nothing_and_is_no_error() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    let status = host.status();
    host.run(async {}).await.unwrap();
    assert!(log.lines().is_empty());
    assert_eq!(status.current().phase, Phase::Stopped);
}

#[tokio::test]
async fn the_status_is_there_before_the_start_and_after_the_end() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    let status = host.status();
    let of_a = || status.current().plugin("a").unwrap().state;
    assert_eq!(
        (status.current().phase, of_a()),
        (Phase::Starting, State::Init)
    );
    host.run(up(status.clone())).await.unwrap();
    assert_eq!(
        (status.current().phase, of_a()),
        (Phase::Stopped, State::Stopped)
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_that_failed_leaves_nothing_that_ends_the_process_or_the_next_host_later() {
    let (first_log, second_log) = (Log::default(), Log::default());
    let mut first_host = host();
    first_host.add(Probe::new("a", &first_log));
    first_host.add(Probe::new("b", &first_log).init(At::Fail));
    first_host.run(std::future::pending()).await.unwrap_err();
    assert_eq!(first_log.lines().last().unwrap(), "close a");

    let mut second_host = host();
    second_host.add(Probe::new("a", &second_log));
    let status = second_host.status();
    let long_after = async move {
        up(status).await;
        // Every deadline of the first one passes meanwhile.
        tokio::time::sleep(Duration::from_secs(60)).await;
    };
    second_host.run(long_after).await.unwrap();
    let expected = ["init a", "after_init a", "close a"];
    assert_eq!(second_log.lines(), expected);
    assert_eq!(first_log.lines().len(), 4);
}

#[tokio::test]
async fn plugins_come_up_in_order_and_close_in_reverse() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Probe::new("b", &log));
    let status = host.status();
    host.run(up(status.clone())).await.unwrap();
    assert_eq!(
        log.lines(),
        [
            "init a",
            "init b",
            "after_init a",
            "after_init b",
            "close b",
            "close a"
        ]
    );
    assert_eq!(status.current().state(), State::Stopped);
}

#[tokio::test]
async fn a_plugin_needs_neither_after_init_nor_close() {
    let mut host = host();
    host.add(Starts("only-init", |_: &mut Context| {}));
    let status = host.status();
    host.run(up(status)).await.unwrap();
}

#[tokio::test]
async fn a_run_lasts_until_it_is_told_to_shut_down() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    let (shut_down, told) = oneshot::channel::<()>();
    let status = host.status();
    let run = tokio::spawn(host.run(async move {
        told.await.unwrap();
    }));
    up(status).await;
    tokio::task::yield_now().await;
    assert!(!run.is_finished());
    shut_down.send(()).unwrap();
    run.await.unwrap().unwrap();
    assert_eq!(log.lines().last().unwrap(), "close a");
}

#[tokio::test]
async fn a_failed_init_names_plugin_and_stage_and_closes_whatever_was_begun() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Probe::new("b", &log).init(At::Fail));
    host.add(Probe::new("c", &log));
    let status = host.status();
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin b failed in init: b went wrong");
    assert!(matches!(
        first(&error),
        ("b", Stage::Init, Cause::Failed(_))
    ));
    // The one that never began has nothing to close.
    assert_eq!(log.lines(), ["init a", "init b", "close b", "close a"]);
    let agent = status.current();
    assert_eq!(agent.plugin("b").unwrap().state, State::Stopped);
    let never = agent.plugin("c").unwrap();
    assert_eq!(never.state, State::Init);
    assert_eq!(never.cause.as_deref(), Some("it was not started"));
}

#[tokio::test]
async fn a_failed_after_init_ends_the_run_and_closes_every_plugin() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log).after_init(At::Fail));
    host.add(Probe::new("b", &log));
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert!(matches!(
        first(&error),
        ("a", Stage::AfterInit, Cause::Failed(_))
    ));
    assert_eq!(
        log.lines(),
        ["init a", "init b", "after_init a", "close b", "close a"]
    );
}

#[tokio::test]
async fn every_close_is_attempted_and_every_failure_told() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log).close(At::Fail));
    host.add(Probe::new("b", &log).close(At::Panic));
    host.add(Probe::new("c", &log));
    let status = host.status();
    let error = host.run(up(status)).await.unwrap_err();
    assert_eq!(log.lines()[6..], ["close c", "close b", "close a"]);
    assert_eq!(
        error.to_string(),
        "plugin b failed in close: it panicked: b went mad; \
         also, plugin a failed in close: a went wrong"
    );
}

#[tokio::test]
async fn a_panicking_init_is_contained_and_told() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Probe::new("b", &log).init(At::Panic));
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin b failed in init: it panicked: b went mad"
    );
    assert_eq!(log.lines(), ["init a", "init b", "close b", "close a"]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_init_is_given_up_at_its_deadline() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Probe::new("b", &log).init(At::Hang));
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin b failed in init: it did not end within 2s"
    );
    assert_eq!(log.lines(), ["init a", "init b", "close b", "close a"]);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_whose_after_init_hangs_is_closed_all_the_same() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log).after_init(At::Hang));
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert!(matches!(
        first(&error),
        ("a", Stage::AfterInit, Cause::TimedOut(_))
    ));
    assert_eq!(log.lines(), ["init a", "after_init a", "close a"]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_close_does_not_keep_the_others_open() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Probe::new("b", &log).close(At::Hang));
    let status = host.status();
    let error = host.run(up(status)).await.unwrap_err();
    assert!(matches!(
        first(&error),
        ("b", Stage::Close, Cause::TimedOut(_))
    ));
    assert_eq!(log.lines().last().unwrap(), "close a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_init_that_blocks_its_thread_does_not_block_the_host() {
    let log = Log::default();
    let moment = Duration::from_millis(50);
    let mut host = host()
        .with_start_deadline(moment)
        .with_close_deadline(moment);
    host.add(Probe::new("a", &log));
    let block = At::Block(Duration::from_secs(2));
    host.add(Probe::new("b", &log).init(block));
    let began = std::time::Instant::now();
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert!(matches!(
        first(&error),
        ("b", Stage::Init, Cause::TimedOut(_))
    ));
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(log.lines().last().unwrap(), "close a");
}

#[tokio::test]
async fn a_shutdown_while_plugins_come_up_closes_whatever_was_begun() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Probe::new("b", &log).init(At::Hang));
    host.add(Probe::new("c", &log));
    let status = host.status();
    let begun = log.clone();
    // A store that never answers must not keep the process from ending.
    let shutdown = async move {
        while !begun.lines().contains(&"init b".to_owned()) {
            tokio::task::yield_now().await;
        }
    };
    host.run(shutdown).await.unwrap();
    assert_eq!(log.lines(), ["init a", "init b", "close b", "close a"]);
    assert_eq!(status.current().state(), State::Stopped);
}

/// Hangs at every stage, and has deadlines of its own.
struct Slow;

impl Plugin for Slow {
    type Handle = ();

    fn name(&self) -> &str {
        "slow"
    }

    fn handle(&self) {}

    fn start_deadline(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }

    fn close_deadline(&self) -> Option<Duration> {
        Some(Duration::from_secs(30))
    }

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        std::future::pending().await
    }

    async fn close(&mut self) -> PluginResult {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_may_state_its_own_deadlines() {
    let mut host = host();
    host.add(Slow);
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin slow failed in init: it did not end within 60s; \
         also, plugin slow failed in close: it did not end within 30s"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn plugins_on_threads_of_their_own_are_contained_alike() {
    let (long, short) = (Duration::from_secs(60), Duration::from_millis(50));
    for (act, deadline, told) in [
        (At::Fail, long, "b went wrong"),
        (At::Panic, long, "it panicked: b went mad"),
        (At::Hang, short, "it did not end within 50ms"),
    ] {
        let log = Log::default();
        let mut host = host().with_start_deadline(deadline);
        host.add(Probe::new("a", &log));
        host.add(Probe::new("b", &log).init(act));
        let error = host.run(std::future::pending()).await.unwrap_err();
        let told = format!("plugin b failed in init: {told}");
        assert_eq!(error.to_string(), told);
        assert_eq!(log.lines(), ["init a", "init b", "close b", "close a"]);
    }
}

#[tokio::test]
async fn the_error_of_a_plugin_comes_back_as_it_was() {
    struct Fails;

    impl Plugin for Fails {
        type Handle = ();

        fn name(&self) -> &str {
            "fails"
        }

        fn handle(&self) {}

        async fn init(&mut self, _cx: &mut Context) -> PluginResult {
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into())
        }
    }

    let mut host = host();
    host.add(Fails);
    let error = host.run(std::future::pending()).await.unwrap_err();
    let (_, _, cause) = first(&error);
    let Cause::Failed(error) = cause else {
        panic!("it failed otherwise: {cause}");
    };
    let error = error.downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[tokio::test]
async fn a_plugin_that_panics_when_dropped_is_told_and_the_others_are_closed() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Drops);
    let status = host.status();
    let error = host.run(up(status)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin drops failed in close: it panicked: not so"
    );
    assert_eq!(log.lines().last().unwrap(), "close a");
}

#[tokio::test]
async fn a_plugin_that_never_began_and_panics_when_dropped_hides_no_error() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log).init(At::Fail));
    host.add(Drops);
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin a failed in init: a went wrong; \
         also, plugin drops failed in close: it panicked: not so"
    );
    assert_eq!(log.lines(), ["init a", "close a"]);

    let mut host = self::host();
    host.add(Drops);
    host.add(Drops);
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert!(matches!(error, Error::DuplicateName { .. }), "{error}");
}

#[tokio::test]
async fn two_plugins_of_one_name_are_refused_before_anything_starts() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Probe::new("a", &log));
    let error = host.run(async {}).await.unwrap_err();
    assert!(matches!(&error, Error::DuplicateName { name } if name == "a"));
    assert!(log.lines().is_empty());
}

#[tokio::test]
async fn a_name_that_cannot_name_a_file_is_refused_before_anything_starts() {
    for name in ["", "a/b", "..", "-a", "a b"] {
        let log = Log::default();
        let mut host = host();
        host.add(Probe::new("fine", &log));
        host.add(Probe::new(name, &log));
        let error = host.run(async {}).await.unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{name:?}");
        assert!(log.lines().is_empty());
    }
}

#[tokio::test]
async fn a_fatal_error_ends_the_run_in_order() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Starts("b", |cx: &mut Context| cx.fatal("the disk is gone")));
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin b failed in run: the disk is gone"
    );
    assert_eq!(log.lines().last().unwrap(), "close a");
}

#[tokio::test]
async fn a_fatal_error_of_one_that_is_told_to_end_is_returned() {
    let mut host = host();
    let status = host.status();
    host.add(Starts("b", |cx: &mut Context| {
        let told = cx.clone();
        cx.spawn("work", async move |stop| {
            stop.cancelled().await;
            told.fatal("what was promised is not written");
            Ok(())
        });
    }));
    let up = async move {
        status.wait_for(AgentStatus::is_ready).await;
    };
    let error = host.run(up).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin b failed in run: what was promised is not written"
    );
}

#[tokio::test]
async fn tasks_end_before_their_plugin_closes() {
    struct Worker(Log);

    impl Plugin for Worker {
        type Handle = ();

        fn name(&self) -> &str {
            "worker"
        }

        fn handle(&self) {}

        async fn init(&mut self, cx: &mut Context) -> PluginResult {
            let log = self.0.clone();
            cx.spawn("work", async move |stop| {
                stop.cancelled().await;
                tokio::task::yield_now().await;
                log.add("task put in order");
                Ok(())
            });
            Ok(())
        }

        async fn close(&mut self) -> PluginResult {
            self.0.add("close worker");
            Ok(())
        }
    }

    let log = Log::default();
    let mut host = host();
    host.add(Worker(log.clone()));
    let status = host.status();
    host.run(up(status)).await.unwrap();
    assert_eq!(log.lines(), ["task put in order", "close worker"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_end_is_named_and_aborted() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    let held = Arc::new(());
    let alive = Arc::downgrade(&held);
    let mut held = Some(held);
    host.add(Starts("b", move |cx: &mut Context| {
        let held = held.take();
        cx.spawn("stubborn", async move |_stop| {
            std::future::pending::<()>().await;
            drop(held);
            Ok(())
        });
    }));
    let status = host.status();
    let error = host.run(up(status)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin b failed in close: these tasks did not end within 1s: stubborn"
    );
    assert_eq!(log.lines().last().unwrap(), "close a");
    tokio::task::yield_now().await;
    assert!(alive.upgrade().is_none(), "the task is still there");
}

#[tokio::test]
async fn a_task_that_is_spawned_after_the_stop_is_never_run() {
    struct Late(Option<Context>, Log, oneshot::Sender<Context>);

    impl Plugin for Late {
        type Handle = ();

        fn name(&self) -> &str {
            "late"
        }

        fn handle(&self) {}

        async fn init(&mut self, cx: &mut Context) -> PluginResult {
            self.0 = Some(cx.clone());
            let (own, log) = (cx.clone(), self.1.clone());
            cx.spawn("first", async move |stop| {
                stop.cancelled().await;
                runs_never(&own, &log, "by a task");
                Ok(())
            });
            Ok(())
        }

        async fn close(&mut self) -> PluginResult {
            let (cx, kept) = (self.0.take().unwrap(), oneshot::channel().0);
            runs_never(&cx, &self.1, "by the close");
            let _ = std::mem::replace(&mut self.2, kept).send(cx);
            Ok(())
        }
    }

    /// Spawns a task that holds something, and finds it dropped.
    fn runs_never(cx: &Context, log: &Log, who: &str) {
        let held = Arc::new(());
        let alive = Arc::downgrade(&held);
        let (line, log) = (format!("ran, spawned {who}"), log.clone());
        cx.spawn("late", async move |_stop| {
            let _held = held;
            log.add(line);
            std::future::pending().await
        });
        assert!(alive.upgrade().is_none(), "it is kept");
    }

    let log = Log::default();
    let mut host = host();
    let (keep, kept) = oneshot::channel();
    host.add(Late(None, log.clone(), keep));
    let status = host.status();
    host.run(up(status)).await.unwrap();
    let cx = kept.await.unwrap();
    runs_never(&cx, &log, "after the end");
    tokio::task::yield_now().await;
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test]
async fn a_failing_or_panicking_task_is_its_plugins_state_and_ends_nothing_else() {
    let mut host = host();
    host.add(Starts("fails", |cx: &mut Context| {
        cx.spawn("beat", async |_| Err("no pulse".into()));
    }));
    host.add(Starts("panics", |cx: &mut Context| {
        cx.spawn("beat", async |_| panic!("no brain"));
    }));
    host.add(Starts("works", |_: &mut Context| {}));
    let status = host.status();
    let seen = status.clone();
    host.run(async move {
        seen.wait_for(|agent| {
            let state = |name| agent.plugin(name).unwrap().state;
            state("fails") == State::Error
                && state("panics") == State::Error
                && state("works") == State::Ok
        })
        .await;
        let agent = seen.current();
        assert_eq!(agent.state(), State::Error);
        let cause = |name| {
            agent
                .plugin(name)
                .unwrap()
                .cause
                .as_deref()
                .unwrap()
                .to_owned()
        };
        assert_eq!(cause("fails"), "task beat failed: no pulse");
        assert_eq!(cause("panics"), "task beat panicked: no brain");
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn at_the_end_the_status_still_tells_what_a_plugin_failed_of() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Probe::new("b", &log).init(At::Fail).close(At::Fail));
    let status = host.status();
    host.run(std::future::pending()).await.unwrap_err();
    let agent = status.current();
    let end = |agent: &AgentStatus, name| {
        let plugin = agent.plugin(name).unwrap();
        (plugin.state, plugin.cause.as_deref().map(str::to_owned))
    };
    assert_eq!(end(&agent, "a"), (State::Stopped, None));
    let both = "init: b went wrong; plugin b failed in close: b went wrong";
    assert_eq!(end(&agent, "b"), (State::Stopped, Some(both.to_owned())));

    let mut host = self::host();
    host.add(Starts("fatal", |cx: &mut Context| cx.fatal("out of fuel")));
    host.add(Starts("task", |cx: &mut Context| {
        cx.spawn("beat", async |_| Err("no pulse".into()));
    }));
    let status = host.status();
    host.run(std::future::pending()).await.unwrap_err();
    let cause = end(&status.current(), "fatal").1;
    assert_eq!(cause.as_deref(), Some("out of fuel"));
}

#[tokio::test]
async fn a_failed_task_is_not_covered_by_what_another_task_reports() {
    let mut host = host().with_hysteresis(Hysteresis::none());
    let (go, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    let (reported, mut reports) = tokio::sync::mpsc::channel::<()>(1);
    host.add(Starts("two", move |cx: &mut Context| {
        cx.spawn("fails", async |_| Err("no pulse".into()));
        let status = cx.status().clone();
        let (mut told, reported) = (gone_once(&mut gone), reported.clone());
        cx.spawn("beats", async move |_| {
            told.recv().await;
            status.ok();
            let _ = reported.send(()).await;
            Ok(())
        });
    }));
    let status = host.status();
    host.run(async move {
        let failed = |agent: &AgentStatus| agent.state() == State::Error;
        status.wait_for(failed).await;
        go.send(()).await.unwrap();
        reports.recv().await.unwrap();
        let two = status.current().plugin("two").unwrap().clone();
        assert_eq!(two.state, State::Error);
        assert_eq!(two.cause.as_deref(), Some("task fails failed: no pulse"));
    })
    .await
    .unwrap();
}

/// The end of a channel, for the one who asks first.
fn gone_once(end: &mut tokio::sync::mpsc::Receiver<()>) -> tokio::sync::mpsc::Receiver<()> {
    std::mem::replace(end, tokio::sync::mpsc::channel(1).1)
}

#[tokio::test]
async fn tasks_of_a_plugin_whose_init_failed_are_ended() {
    struct Half(Option<Arc<()>>);

    impl Plugin for Half {
        type Handle = ();

        fn name(&self) -> &str {
            "half"
        }

        fn handle(&self) {}

        async fn init(&mut self, cx: &mut Context) -> PluginResult {
            let held = self.0.take();
            cx.spawn("work", async move |stop| {
                stop.cancelled().await;
                drop(held);
                Ok(())
            });
            Err("no further".into())
        }
    }

    let held = Arc::new(());
    let alive = Arc::downgrade(&held);
    let mut host = host();
    host.add(Half(Some(held)));
    host.run(std::future::pending()).await.unwrap_err();
    assert!(alive.upgrade().is_none(), "the task is still there");
}

#[tokio::test]
async fn a_host_that_is_dropped_leaves_no_task_behind() {
    let held = Arc::new(());
    let alive = Arc::downgrade(&held);
    let mut held = Some(held);
    let mut host = host();
    host.add(Starts("a", move |cx: &mut Context| {
        let held = held.take();
        let own = cx.clone();
        cx.spawn("forever", async move |_stop| {
            // A task that holds the context that owns it.
            let _keep = (held, own);
            std::future::pending().await
        });
    }));
    let status = host.status();
    let run = tokio::spawn(host.run(std::future::pending()));
    up(status).await;
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    while alive.upgrade().is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn reading_the_status_waits_for_no_plugin() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    host.add(Probe::new("b", &log).init(At::Hang));
    let status = host.status();
    // Also before the run.
    assert_eq!(status.current().state(), State::Init);
    let run = tokio::spawn(host.run(std::future::pending()));
    while !log.lines().contains(&"init b".to_owned()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(status.current().plugin("b").unwrap().state, State::Init);
    run.abort();
}

#[tokio::test]
async fn two_hosts_live_in_one_process() {
    let log = Log::default();
    let (mut one, mut two) = (host(), host());
    one.add(Probe::new("a", &log));
    two.add(Probe::new("a", &log).init(At::Fail));
    let status = one.status();
    let (one, two) = tokio::join!(one.run(up(status)), two.run(std::future::pending()));
    one.unwrap();
    two.unwrap_err();
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_shuts_the_agent_down_in_order() {
    let log = Log::default();
    let mut host = host();
    host.add(Probe::new("a", &log));
    let shutdown = plugin_runtime::shutdown_signal();
    let status = host.status();
    let run = tokio::spawn(host.run(shutdown));
    up(status).await;
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &std::process::id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    run.await.unwrap().unwrap();
    assert_eq!(log.lines().last().unwrap(), "close a");
}

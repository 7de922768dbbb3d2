//! The conformance kit finds what is wrong with a store: for each flaw, the promise that breaks.

#![cfg(feature = "testing")]

#[path = "conformance_support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use keyval::testing::conformance::{
    Settings, Subject, compact, kv, lease, list, model, race, run, scope, txn, watch, whole,
};
use keyval::{ManagedStore, Result, Store};
use support::{Flaw, Flawed};

/// Whether the promise is kept by a store with this flaw.
fn kept<S: Store + ?Sized>(
    subject: impl AsyncFnOnce() -> Subject<S>,
    promise: impl AsyncFnOnce(&Subject<S>) -> Result<()>,
) -> bool {
    let subject = async {
        tokio::time::pause();
        subject().await
    };
    let settings = Settings::default().with_cases(64);
    catch_unwind(AssertUnwindSafe(|| {
        run("promise", settings, subject, promise);
    }))
    .is_ok()
}

async fn shared(flaw: Flaw) -> Subject {
    Subject::new(Flawed::new(flaw))
}

async fn exclusive(flaw: Flaw) -> Subject<dyn ManagedStore> {
    Subject::whole(Flawed::new(flaw))
}

macro_rules! finds {
    ($($name:ident: $make:ident($flaw:ident) by $promise:path;)*) => {
        $(
            #[test]
            fn $name() {
                assert!(
                    kept(async || $make(Flaw::None).await, $promise),
                    "a store without the flaw keeps the promise"
                );
                assert!(
                    !kept(async || $make(Flaw::$flaw).await, $promise),
                    "{:?} went unnoticed",
                    Flaw::$flaw
                );
            }
        )*
    };
}

finds! {
    a_dropped_event_is_found: shared(DropsAnEvent)
        by watch::changes_come_in_order_exactly_once;
    a_repeated_event_is_found: shared(RepeatsAnEvent)
        by watch::changes_come_in_order_exactly_once;
    events_out_of_order_are_found: shared(ReordersEvents)
        by watch::a_watch_sees_concurrent_writers_in_order;
    a_split_revision_is_found: shared(SplitsRevisions)
        by watch::a_transaction_is_delivered_whole;
    forgotten_previous_entries_are_found: shared(ForgetsPrevious)
        by watch::previous_entries_are_delivered_on_request;
    a_watch_that_begins_late_is_found: shared(WatchesLate)
        by watch::a_watch_from_now_sees_every_later_write;
    skipped_empty_values_are_found: shared(SkipsEmptyValues)
        by watch::the_put_of_an_empty_value_is_a_change;
    a_watch_that_tells_of_neighbours_is_found: shared(WatchesNeighbours)
        by watch::a_watch_is_filtered_to_its_range;
    a_watch_of_a_neighbouring_scope_is_found: shared(WatchesNeighbours)
        by scope::a_scoped_watch_tells_short_keys_of_the_scope;
    a_watch_that_ends_in_silence_is_found: exclusive(EndsInSilence)
        by whole::closing_ends_every_watch;
    progress_that_outruns_changes_is_found: shared(ProgressOutrunsChanges)
        by watch::changes_come_in_order_exactly_once;
    uncounted_deletes_are_found: shared(CountsNoDeletes)
        by kv::a_delete_says_whether_the_key_existed;
    deletes_that_everyone_wins_are_found: shared(CountsNoDeletes)
        by race::a_key_is_deleted_once;
    empty_taken_for_absent_is_found: shared(TakesEmptyForAbsent)
        by kv::an_empty_value_is_a_value;
    a_range_that_leaks_is_found: shared(LeaksNeighbours)
        by list::a_prefix_is_plain_bytes;
    a_scope_that_leaks_is_found: shared(LeaksNeighbours)
        by scope::a_scope_never_shows_its_neighbour;
    a_list_of_many_revisions_is_found: shared(ListsByAndBy)
        by list::a_list_is_of_one_revision_while_it_is_read;
    a_shortened_list_is_found: shared(ShortensLists)
        by list::many_keys_list_completely;
    a_limit_before_the_order_is_found: shared(LimitsBeforeOrder)
        by list::a_limit_takes_the_first_entries;
    a_split_transaction_is_found: shared(SplitsTransactions)
        by txn::too_many_operations_are_refused_with_the_numbers;
    a_key_silently_put_once_is_found: shared(LetsTheLastPutWin)
        by txn::a_key_written_twice_is_refused;
    a_lost_update_is_found: shared(LooksBeforeItLeaps)
        by race::compare_and_swap_loses_no_update;
    a_lost_race_that_fails_is_found: shared(FailsLostRaces)
        by kv::put_if_absent_writes_only_where_nothing_stands;
    a_renewal_that_writes_is_found: shared(RenewsByWriting)
        by lease::renewing_wakes_no_watcher;
    a_key_that_never_detaches_is_found: shared(NeverDetaches)
        by lease::a_plain_put_detaches_the_key;
    a_lease_that_never_expires_is_found: shared(NeverExpires)
        by lease::keys_go_when_their_lease_expires;
    a_call_that_hangs_is_found: shared(HangsOnGet)
        by kv::a_missing_key_is_none;
    a_missing_capability_used_in_silence_is_found: shared(IgnoresThePast)
        by kv::the_past_is_read_as_it_was;
    transactions_used_in_silence_are_found: shared(IsTooModest)
        by txn::an_empty_transaction_succeeds;
    watches_used_in_silence_are_found: shared(IsTooModest)
        by watch::a_delete_is_delivered;
    previous_entries_used_in_silence_are_found: shared(IsTooModest)
        by kv::a_put_returns_the_previous_entry_on_request;
    leases_used_in_silence_are_found: shared(IsTooModest)
        by lease::a_lost_lease_is_told;
    compaction_used_in_silence_is_found: exclusive(IsTooModest)
        by compact::the_present_state_outlives_a_compaction;
    a_compaction_that_does_nothing_is_found: exclusive(NeverCompacts)
        by compact::what_is_compacted_cannot_be_read;
    a_close_that_does_nothing_is_found: exclusive(NeverCloses)
        by whole::a_closed_store_refuses_everything;
    a_subtle_flaw_is_found_by_the_model: shared(ForgetsVersions)
        by model::a_random_history_is_as_the_model_has_it;
    a_dropped_event_is_found_by_the_model: shared(DropsAnEvent)
        by model::a_random_history_is_as_the_model_has_it;
    a_limit_before_the_order_is_found_by_the_model: shared(LimitsBeforeOrder)
        by model::a_random_history_is_as_the_model_has_it;
}

/// A store that can do no more than it must, and says so, keeps every promise.
mod a_modest_store_is_a_good_store {
    use super::*;

    keyval::conformance! {
        shared: Flawed::new(Flaw::IsModest),
        exclusive: Flawed::new(Flaw::IsModest),
        settings: Settings::default().with_cases(32),
    }
}

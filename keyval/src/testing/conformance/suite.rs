//! One line in a test file, and every promise is a test.

/// Makes one test of every promise of the contract, for one store.
///
/// Each test makes a store by the expression `shared` (asynchronous if need be), and works in a
/// random scope of its own, so that all can run at once on one server beside other users. With
/// `exclusive`, an expression for a whole store that nobody else uses while the test runs, come
/// the promises about compaction, closing and exact revisions; a store that has
/// [`Maintenance`](crate::Maintenance) and is not run with it is only half tested. `settings`
/// is a [`Settings`](crate::testing::conformance::Settings).
///
/// The tests are named `kv::a_missing_key_is_none` and so on; several suites in one file go into
/// modules of their own. What a store cannot do by its `capabilities()` must be refused as not
/// supported. If a promise is not kept, the test prints the last calls and their answers.
///
/// On a store that lives by tokio's time, `tokio::time::pause()` in the expression makes waiting
/// for a lease instant.
///
/// # Examples
/// ```
/// use keyval::Memory;
/// use keyval::testing::conformance::Settings;
///
/// mod alone {
///     use super::*;
///     keyval::conformance!(Memory::new());
/// }
///
/// mod owned {
///     use super::*;
///     keyval::conformance! {
///         shared: Memory::new(),
///         exclusive: Memory::new(),
///         settings: Settings::default().with_cases(24),
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance {
    (
        shared: $shared:expr
        $(, exclusive: $exclusive:expr)?
        $(, settings: $settings:expr)?
        $(,)?
    ) => {
        #[allow(dead_code)]
        fn conformance_settings() -> $crate::testing::conformance::Settings {
            #[allow(unused_variables)]
            let settings = $crate::testing::conformance::Settings::default();
            $(let settings = $settings;)?
            settings
        }

        #[allow(dead_code)]
        async fn conformance_shared() -> $crate::testing::conformance::Subject {
            let store = $shared;
            $crate::testing::conformance::Subject::with_settings(store, conformance_settings())
        }

        $crate::for_each_promise!(shared, conformance_shared, $crate::__conformance_tests);

        $(
            #[allow(dead_code)]
            async fn conformance_exclusive()
            -> $crate::testing::conformance::Subject<dyn $crate::ManagedStore> {
                let store = $exclusive;
                $crate::testing::conformance::Subject::whole_with_settings(
                    store,
                    conformance_settings(),
                )
            }

            $crate::for_each_promise!(
                exclusive,
                conformance_exclusive,
                $crate::__conformance_tests
            );
        )?
    };
    ($shared:expr $(,)?) => {
        $crate::conformance! { shared: $shared }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($make:ident: $($module:ident { $($promise:ident)* })*) => {
        $(
            mod $module {
                $(
                    #[test]
                    fn $promise() {
                        $crate::testing::conformance::run(
                            concat!(stringify!($module), "::", stringify!($promise)),
                            super::conformance_settings(),
                            super::$make(),
                            $crate::testing::conformance::$module::$promise,
                        );
                    }
                )*
            }
        )*
    };
}

/// Calls a macro with the names of all promises: of the group `shared`, which any store can show
/// beside other users, or `exclusive`, for whole stores.
///
/// The macro is called as `name! { argument: module { promise promise .. } module { .. } .. }`;
/// each promise is the function `keyval::testing::conformance::module::promise`.
///
/// # Examples
/// ```
/// macro_rules! count {
///     ($start:literal: $($module:ident { $($promise:ident)* })*) => {
///         $start $($(+ { stringify!($promise); 1 })*)*
///     };
/// }
/// let promises: u32 = keyval::for_each_promise!(shared, 0, count);
/// assert!(promises > 100);
/// ```
#[macro_export]
macro_rules! for_each_promise {
    (shared, $argument:tt, $($callback:tt)+) => {
        $($callback)+! {
            $argument:
            kv {
                a_missing_key_is_none
                a_value_is_read_back_byte_for_byte
                an_empty_value_is_a_value
                a_large_value_is_read_back
                a_get_matches_the_whole_key
                a_key_is_bytes_and_never_normalised
                a_long_key_is_a_key
                an_empty_key_is_refused
                a_new_key_has_version_one
                overwriting_raises_version_and_revision
                a_deleted_key_begins_anew
                a_delete_says_whether_the_key_existed
                deleting_a_range_takes_its_keys_and_counts_them
                deleting_nothing_is_no_error
                a_put_returns_the_previous_entry_on_request
                a_delete_returns_the_previous_entries_on_request
                a_put_can_keep_the_value
                keeping_the_value_of_nothing_is_refused
                put_if_absent_writes_only_where_nothing_stands
                compare_and_swap_by_value_replaces_that_value
                compare_and_swap_by_revision_sees_a_value_that_came_back
                absent_is_not_equal_to_empty
                a_conditional_put_returns_the_previous_entry_on_request
                compare_and_delete_deletes_only_what_is_expected
                the_past_is_read_as_it_was
                the_future_cannot_be_read
                a_serializable_read_comes_to_see_what_was_written
                an_oversized_value_is_refused_with_the_numbers
                an_oversized_delete_is_refused_with_the_numbers
                revision_zero_is_not_the_present
                errors_show_no_value_and_say_what_to_do
            }
            list {
                a_list_is_in_key_order
                a_list_has_whole_entries
                a_list_sees_every_earlier_write
                a_range_without_keys_lists_nothing
                a_span_that_can_hold_no_key_is_refused
                a_prefix_is_plain_bytes
                a_prefix_of_high_bytes_has_an_end
                a_span_is_half_open
                the_range_of_a_key_is_that_key
                a_list_of_keys_has_no_values
                a_count_is_of_the_whole_range
                a_limit_takes_the_first_entries
                a_list_can_run_backwards
                a_limit_of_zero_is_refused
                pages_are_invisible
                a_list_is_of_one_revision_while_it_is_read
                a_list_of_the_past_is_what_was_there
                a_list_knows_the_future_from_the_past
                many_keys_list_completely
                a_list_can_be_dropped_half_read
                a_range_of_megabytes_is_listed
            }
            txn {
                an_empty_transaction_succeeds
                a_transaction_is_one_revision
                either_list_is_carried_out
                no_compare_always_holds
                every_target_is_compared_by_every_relation
                the_lease_is_compared
                a_missing_key_counts_as_zero
                absent_is_not_a_value
                every_operation_has_its_answer
                a_get_sees_the_writes_before_it
                a_get_in_a_transaction_has_its_options
                a_transaction_returns_previous_entries_on_request
                too_many_operations_are_refused_with_the_numbers
                a_key_written_twice_is_refused
                what_only_looks_like_writing_twice_is_accepted
                an_oversized_transaction_is_refused
                a_transaction_that_makes_no_sense_is_refused
                a_transaction_is_all_or_nothing
                a_put_in_a_transaction_can_keep_the_value
                a_transaction_without_effect_changes_nothing
                compares_look_at_what_stands_before
            }
            watch {
                a_watch_from_now_sees_every_later_write
                a_put_is_delivered_with_its_whole_entry
                a_delete_is_delivered
                the_put_of_an_empty_value_is_a_change
                the_put_of_the_same_value_is_a_change
                what_has_no_effect_is_no_change
                changes_come_in_order_exactly_once
                a_transaction_is_delivered_whole
                a_large_transaction_is_delivered_whole
                a_watch_is_filtered_to_its_range
                a_watch_sees_its_part_of_a_transaction
                a_watch_from_the_past_delivers_everything_since
                a_watch_resumes_without_gap_or_repeat
                a_watch_from_the_future_waits
                previous_entries_are_delivered_on_request
                a_deleted_range_is_delivered_with_previous_entries
                progress_is_told_on_request
                watches_are_independent
                dropped_watches_leave_nothing_behind
                a_slow_reader_gets_everything_or_is_told
                a_watch_sees_concurrent_writers_in_order
                a_watch_delivers_bytes_as_they_are
                a_kept_value_is_delivered
                a_watch_that_makes_no_sense_is_refused
                a_watch_catches_up_on_megabytes
            }
            lease {
                a_grant_is_of_at_least_the_ttl_asked_for
                less_than_a_second_is_refused
                every_grant_is_a_lease_of_its_own
                a_lease_and_its_keys_know_each_other
                keys_go_when_their_lease_expires
                a_key_lives_as_long_as_its_ttl
                every_put_with_a_ttl_has_its_own_lease
                revoking_deletes_the_keys_at_one_revision
                a_lease_without_keys_changes_nothing
                a_plain_put_detaches_the_key
                a_put_can_keep_the_lease
                keeping_the_lifetime_of_nothing_is_refused
                a_key_moves_from_lease_to_lease
                a_lease_outlives_its_keys
                a_renewed_lease_goes_on
                renewing_wakes_no_watcher
                a_lost_lease_is_told
                a_lease_that_was_never_granted_is_refused
                a_put_in_a_transaction_can_be_leased
                a_lost_race_attaches_nothing
                a_put_in_a_transaction_can_have_a_ttl
                a_lost_race_makes_no_lease
            }
            session {
                a_session_outlives_its_ttl_and_wakes_no_watcher
                the_safe_deadline_is_not_later_than_the_stores
                a_closed_session_takes_its_keys_at_one_revision
                closing_a_session_again_is_harmless
                a_dropped_session_takes_its_keys_too
                a_lost_lease_of_a_session_is_told_with_its_cause
                a_renewed_session_has_its_keys_again
                a_session_without_regrant_ends_with_its_lease
                what_others_put_meanwhile_is_not_overwritten
                a_removed_key_does_not_come_back
                a_key_that_somebody_else_put_is_not_removed
                a_removed_key_does_not_come_back_late
                sessions_of_one_keeper_are_independent
            }
            lock {
                a_lock_has_one_holder
                a_lock_is_laid_out_as_etcd_does_it
                first_come_is_first_served
                a_former_holder_can_write_nothing
                the_same_session_gets_a_new_token_each_time
                a_late_release_does_not_free_a_successor
                the_lock_of_one_who_is_gone_is_free
                a_holder_without_its_lease_is_told
                a_holder_without_its_key_is_told
                a_try_does_not_wait
                a_deadline_that_passes_leaves_nothing_behind
                one_who_waits_no_more_leaves_the_queue
                a_lock_that_is_dropped_is_released
                tasks_of_one_session_wait_for_each_other
                names_that_begin_alike_are_different_locks
                one_who_waits_without_a_lease_is_told
                a_lock_without_a_name_is_refused
                an_entrance_that_comes_late_holds_nobody_up
            }
            election {
                one_leads_and_is_seen
                resigning_elects_the_next
                the_next_leads_when_the_leader_is_gone
                a_leader_that_is_deposed_is_told
                only_the_leader_proclaims
                what_is_proclaimed_goes_with_the_leader
                observers_see_every_leader_in_order
                a_candidate_that_is_dropped_is_withdrawn
                a_leadership_is_resumed_by_its_lease
                a_candidate_that_comes_late_is_withdrawn
                a_value_that_comes_late_overwrites_none
            }
            scope {
                keys_go_in_short_and_come_out_short
                a_scope_never_shows_its_neighbour
                all_inside_a_scope_is_the_scope
                a_scope_of_high_bytes_has_an_end
                no_name_leads_out_of_a_scope
                the_prefix_itself_is_outside_the_scope
                scopes_nest
                a_transaction_stays_in_its_scope
                conditions_look_at_the_key_of_the_scope
                errors_name_short_keys
                a_scoped_watch_tells_short_keys_of_the_scope
                lists_in_a_scope_have_all_options
                a_foreign_lease_is_refused
                a_lease_shows_only_the_keys_of_the_scope
            }
            race {
                put_if_absent_has_exactly_one_winner
                compare_and_swap_loses_no_update
                transactions_do_not_see_each_other_by_halves
                a_list_shows_no_transaction_by_halves
                every_put_has_a_revision_of_its_own
                a_key_is_deleted_once
            }
            model {
                a_random_history_is_as_the_model_has_it
            }
        }
    };
    (exclusive, $argument:tt, $($callback:tt)+) => {
        $($callback)+! {
            $argument:
            compact {
                what_is_compacted_cannot_be_read
                the_present_state_outlives_a_compaction
                a_watch_cannot_begin_at_what_is_compacted
                a_watch_that_keeps_up_outlives_a_compaction
                a_watch_left_behind_is_told
                a_list_under_way_is_whole_or_fails
                a_compaction_out_of_range_is_refused
                a_compaction_is_seen_in_the_status_alone
                a_compacted_previous_entry_hides_no_change
            }
            whole {
                every_effect_makes_the_next_revision
                what_has_no_effect_makes_no_revision
                a_revoked_lease_makes_one_revision
                all_is_every_key
                the_status_tells_which_store_it_is
                a_closed_store_refuses_everything
                closing_again_is_harmless
                closing_ends_every_watch
                a_list_under_way_at_the_close_is_whole_or_fails
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    macro_rules! listed {
        ($group:literal: $($module:ident { $($promise:ident)* })*) => {
            [$((stringify!($module), include_str!(concat!(stringify!($module), ".rs")),
                vec![$(stringify!($promise)),*])),*]
        };
    }

    #[test]
    fn every_promise_is_in_the_list() {
        let shared = for_each_promise!(shared, "shared", listed);
        let exclusive = for_each_promise!(exclusive, "exclusive", listed);
        let mut modules = BTreeSet::new();
        for (module, source, listed) in shared.into_iter().chain(exclusive) {
            let written: Vec<&str> = source
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn "))
                .filter_map(|line| line.split('(').next())
                .collect();
            assert!(!written.is_empty());
            assert_eq!(listed, written, "the list of {module}");
            modules.insert(module);
        }
        let declared: BTreeSet<&str> = include_str!("mod.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
            .collect();
        assert_eq!(modules, declared);
    }
}

"""Which variants of a test `make test` runs; `make soak` runs the others.

A test over several transports, places or kinds shows most of its guarantee with two or three of
them, and each costs servers and processes.
"""

from __future__ import annotations

import pytest

__all__ = ["KEPT", "spare"]

#: By test: the ids of those that stay.
KEPT: dict[str, set[str]] = {
    "test_from_generator.py::test_the_elements_are_those_of_tf_data": {
        "pairs-given0", "texts-given3", "nested-given4", "masks-given6", "<lambda>-given8",
        "<lambda>-given10",
    },
    "test_from_generator.py::test_another_worker_goes_on_where_the_last_one_was": {
        "list", "batches", "async items",
    },
    "test_from_generator.py::test_a_failure_has_the_class_that_it_has_in_tf_data": {
        "value", "key", "memory", "structure",
    },
    "test_from_generator.py::test_a_script_needs_no_guard_and_leaves_nothing": set(),
    "test_notebooks.py::test_a_kernel_interrupt_ends_the_wait_and_the_cell_runs_again": {
        "Client(server.endpoint)",
    },
    "test_keras.py::test_every_way_to_run_sees_every_element_once": {
        "False-{}", "True-{'run_eagerly': True}",
    },
    "test_errors.py::test_ignored_errors_never_look_like_an_end": {"1"},
    "test_link.py::test_links_that_are_cut_lose_and_repeat_nothing": {
        "tiny-seeking", "1MB-counting",
    },
    "test_link.py::test_a_short_partition_is_no_event": {"both"},
    "test_link.py::test_a_partition_that_outlasts_the_patience_is_repaired_by_replay": {"both"},
    "test_garbage.py::test_strangers_do_not_disturb_a_pass": {
        "noise", "a_dealer_with_noise", "a_status_that_is_long_to_quote",
    },
    "test_lives.py::test_streams_go_on_in_the_next_life": {"True"},
    "test_dealing.py::test_every_moment_of_a_fault": {"gap"},
    "test_client.py::test_a_pass_left_early_is_never_seen_again": {"0-tcp", "1-tcp", "9999-ipc"},
    "test_resume.py::test_a_run_that_goes_on_is_bitwise_the_unbroken_one": {"1-True", "46-True"},
    "test_resume.py::test_a_kill_between_the_model_and_the_data_does_no_harm": {"False"},
    "test_recovery.py::test_a_trainer_survives_a_restart_of_the_server": {"tcp-15", "ipc-9"},
    "test_recovery.py::test_a_pass_that_begins_during_a_restart_waits_for_it": {"ipc"},
    "test_death.py::test_a_killed_worker_is_replaced_and_nothing_is_lost": {
        "counting-auto", "seeking-tcp",
    },
    "test_processes.py::test_a_stopped_trainer_goes_on_where_it_was": {"auto"},
    "test_dataset.py::test_any_number_of_lanes_gives_every_element_once": {"3"},
    "test_dataset.py::test_an_iterator_left_early_is_never_seen_again": {"0", "7"},
    "test_network.py::test_a_short_partition_is_repaired_by_tcp": {"both"},
    "test_hosts.py::test_a_host_that_is_cut_off_is_waited_for_while_the_other_goes_on": {"3.0-1.5"},
}  # fmt: skip


def spare(items: list[pytest.Item]) -> None:
    """Mark those that do not stay."""
    for item in items:
        name, _, variant = item.nodeid.rpartition("/")[2].partition("[")
        if name in KEPT and variant.removesuffix("]") not in KEPT[name]:
            item.add_marker(pytest.mark.soak)

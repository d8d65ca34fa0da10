"""Layer 1: next-token distributions (table, transformers, ...) and the names by which users call
them."""

from fkdsl.models.waiting_threads import let_waiting_threads_sleep

let_waiting_threads_sleep()  # before any module of this package loads torch

"""Metadata of a field that holds a slot of the running frame, or a tuple of slots: what the node
does to them. `fkdsl.ir.effects` is the one reader."""

from __future__ import annotations

from collections.abc import Mapping

SLOTS = "slots"
READS: Mapping[str, frozenset[str]] = {SLOTS: frozenset({"reads"})}
"""The node reads the slot."""
WRITES: Mapping[str, frozenset[str]] = {SLOTS: frozenset({"writes"})}
"""The node assigns the slot."""
CHANGES: Mapping[str, frozenset[str]] = {SLOTS: frozenset({"reads", "writes"})}
"""The node assigns the slot a value that depends on the one it holds."""
NAMES: Mapping[str, frozenset[str]] = {SLOTS: frozenset({"names"})}
"""The node only says what the slot is, for a pass."""
BINDS: Mapping[str, frozenset[str]] = {SLOTS: frozenset({"binds"})}
"""The node assigns the slot for the expressions within it; nothing outside reads it."""

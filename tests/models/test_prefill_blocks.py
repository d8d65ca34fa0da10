"""Entries of a store that a stranger made: whatever stands in one, it is damaged or used."""

import json
import struct

import pytest
import torch

from fkdsl.models.prefill.blocks import FORMAT, Damaged, pack, planes_in, row_in, unpack


def raw(header, content=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


@pytest.mark.parametrize(
    "header",
    [
        [],
        None,
        "entry",
        {"__metadata__": []},
        {
            "__metadata__": {"format": FORMAT},
            "a": {"dtype": "F32", "shape": [0, 2**40, 2**40], "data_offsets": [0, 0]},
        },
    ],
)
def test_a_strange_header_is_damage(header):
    with pytest.raises(Damaged):
        unpack("k", raw(header))


def entry(seconds=1.0, **tensors):
    return unpack("k", pack("k", tensors, seconds))


CERTAIN = torch.tensor([0.0, -torch.inf, -torch.inf])
"""A row that every precision has exactly."""


@pytest.mark.parametrize(
    ("row", "sums"),
    [
        (CERTAIN.bfloat16(), None),
        (CERTAIN.half(), None),
        (CERTAIN, torch.tensor([1])),
        (CERTAIN, torch.tensor([1.0]).bfloat16()),
        (CERTAIN, torch.tensor([1.0, 0.0]).double()),
        (CERTAIN, torch.tensor([0.5]).double()),
        (CERTAIN, torch.tensor([torch.nan]).double()),
    ],
)
def test_rows_and_sums_of_another_form_are_damage(row, sums):
    tensors = {"row": row} if sums is None else {"row": row, "sums": sums}
    with pytest.raises(Damaged):
        row_in(entry(**tensors), 3)


def test_a_row_and_its_sums_are_taken_as_they_are():
    sums = torch.tensor([1.0], dtype=torch.float64)
    assert row_in(entry(row=CERTAIN, sums=sums), 3)[1].tolist() == [1.0]


def test_keys_and_values_of_another_precision_are_damage():
    whole = torch.zeros(2, 1, 4)
    assert planes_in(entry(**{"0": whole}), [(1, 4)], 2, torch.float32)[0].shape == (2, 1, 4)
    for dtype in (torch.float8_e4m3fn, torch.int64, torch.bfloat16):
        with pytest.raises(Damaged, match="precision"):
            planes_in(entry(**{"0": whole.to(dtype)}), [(1, 4)], 2, torch.float32)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0])
def test_a_time_that_is_none_is_damage(seconds):
    with pytest.raises(Damaged, match="what it took"):
        entry(seconds)

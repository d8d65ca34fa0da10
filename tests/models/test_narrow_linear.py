"""Linear maps in eight and four bits, against products in double precision."""

from __future__ import annotations

import pytest
import torch

from fkdsl.base.errors import CallError
from fkdsl.models import linear
from fkdsl.models.compat import kernels
from fkdsl.models.narrow_linear import Int4Linear, Int8Linear
from fkdsl.models.narrow_weights import GROUP, GroupedWeight, RowWeight

needs_eight = pytest.mark.skipif(not linear.packs("int8"), reason="no 8-bit maps on this machine")
needs_four = pytest.mark.skipif(not linear.packs("int4"), reason="no 4-bit maps on this machine")
OUT, IN = 48, 96


def numbers(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def batch(rows=7):
    x = numbers(rows, IN)
    x[0] *= 1000.0  # a scale for the whole batch would leave nothing of the other rows
    x[1, 3] = 300.0  # as in language models, where a few coordinates dwarf all others
    x[-1] = 0.0
    return x


@needs_eight
@pytest.mark.parametrize("base", [256, 128])
def test_eight_bits_round_weights_and_hardly_activations(base, monkeypatch):
    """128: as on a processor whose products of larger digits would overflow."""
    monkeypatch.setattr(kernels, "eight_bit_levels", lambda: base // 2 - 1)
    weight, bias, x = numbers(OUT, IN), numbers(OUT), batch()
    f = Int8Linear(RowWeight.of(weight), bias)
    steps = weight.abs().amax(dim=1, keepdim=True).double() / 127
    rounded = (weight / steps).round() * steps
    # Half a level of each activation, times the weights.
    level = x.abs().amax(dim=1, keepdim=True).double() / (base * base / 2.02)
    allowed = 0.51 * level * rounded.abs().sum(dim=1) + 1e-5 * (
        x.double().abs() @ rounded.abs().t()
    )
    expected = x.double() @ rounded.t() + bias.double()
    assert ((f(x).double() - expected).abs() <= allowed + 1e-6).all()
    assert f(x)[-1].equal(bias)
    assert (f.plain().double() - rounded).abs().max() <= 1e-3
    one_digit = (x / (level * base)).round() * level * base
    assert ((one_digit @ rounded.t() - expected).abs() > allowed).any()


@needs_four
def test_four_bits_keep_levels_and_round_to_bfloat16():
    weight, bias, x = numbers(OUT, IN), numbers(OUT), batch()
    grouped = GroupedWeight.of(weight)
    step = grouped.scale.repeat_interleave(GROUP, dim=1)
    assert ((grouped.plain() - weight).abs() <= 0.501 * step).all()
    again = GroupedWeight.of(grouped.plain())  # as a file of published levels that was de-quantised
    assert again.levels.equal(grouped.levels)
    f = Int4Linear(grouped, bias)
    size = x.double().abs() @ (grouped.plain().abs() + 8 * step).double().t() + 1.0
    expected = x.double() @ grouped.plain().double().t() + bias
    assert ((f(x).double() - expected).abs() <= size / 128).all()
    assert (f.weights, f.weight_bytes) == (OUT * IN, OUT * IN // 2 + OUT * IN // GROUP * 4)


def test_weights_of_four_bits_that_are_packed_in_parts_are_those_that_are_packed_whole(monkeypatch):
    levels = torch.randint(0, 16, (5 * 64 + 16, 64), generator=torch.Generator().manual_seed(1))
    whole = kernels.pack_four_bits(levels.to(torch.uint8))
    monkeypatch.setattr(kernels, "PACKED_AT_ONCE", 2 * 64 * 64)
    assert kernels.pack_four_bits(levels.to(torch.uint8)).equal(whole)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_row_is_the_same_to_the_last_bit_alone_and_among_others(precision):
    if not linear.packs(precision):
        pytest.skip(f"no maps in {precision} on this machine")
    f, x = linear.pack(numbers(OUT, IN), numbers(OUT), precision), batch(70)
    together = f(x)
    for i in (0, 1, 5, 69):
        assert f(x[i : i + 1])[0].equal(together[i])
    assert f(x[3:20]).equal(together[3:20])


@needs_four
def test_maps_of_several_forms_stand_side_by_side():
    grouped, whole, bias = GroupedWeight.of(numbers(32, IN)), numbers(8, IN), numbers(40)
    f = linear.pack_stacked([grouped, whole], bias, "int8")
    plain = torch.cat([grouped.plain(), whole])
    x = batch()[2:]
    assert (f(x) - x @ plain.t() - bias).abs().max() <= 0.3
    assert (f.plain() - plain).abs().max() <= 0.05
    order = torch.randperm(32)
    assert grouped.rows(order).plain().equal(grouped.plain()[order])
    both = linear.pack_stacked([grouped, grouped], None, "int8")
    assert isinstance(both, Int4Linear)
    assert both(x)[:, :32].equal(both(x)[:, 32:])


@needs_eight
def test_a_stacked_gate_is_the_two_maps():
    gate, up, x = numbers(OUT, IN), numbers(OUT, IN).flip(0), batch()
    maps = [linear.pack(w, None, "int8") for w in (gate, up)]
    stacked = linear.StackedGate(linear.pack_stacked([gate, up], None, "int8"))
    torch.testing.assert_close(stacked(x), linear.FusedGate(*maps)(x))


@needs_eight
def test_a_number_that_is_none_stays_none():
    x = batch()
    x[2, 5] = float("nan")
    y = linear.pack(numbers(OUT, IN), None, "int8")(x)
    assert y[2].isnan().all()
    assert not y[3:].isnan().any()


def test_sizes_that_do_not_divide_into_groups_have_eight_bits():
    if linear.packs("int4"):
        for shape in ((OUT + 1, IN), (OUT, IN + 8)):
            assert isinstance(linear.pack(numbers(*shape), None, "int4"), Int8Linear)


@pytest.mark.parametrize("missing", ["eight_bit_levels", "multiplies_four_bits"])
def test_operators_that_are_missing_are_a_clear_error(monkeypatch, missing):
    """As in a release of torch without them, or on a processor where they are wrong."""
    monkeypatch.setattr(kernels, missing, lambda: 0)
    with pytest.raises(CallError, match="no 4-bit linear maps") as caught:
        linear.verify_precision("int4", "cpu")
    assert "--dtype" in caught.value.help
    linear.verify_precision("float32", "cpu")


def test_the_trial_of_four_bits_finds_operators_that_are_wrong(monkeypatch):
    kernels.multiplies_four_bits.cache_clear()
    scales = kernels.group_scales
    monkeypatch.setattr(kernels, "group_scales", lambda scale, low: scales(scale, low + scale))
    assert not kernels.multiplies_four_bits()
    kernels.multiplies_four_bits.cache_clear()

"""A chat template from a stranger renders as transformers renders it, within bounds of time, memory
and text."""

from __future__ import annotations

import resource
import threading
import time

import pytest

from fkdsl.base.errors import CallError
from fkdsl.models import chat_template
from fkdsl.models.chat_template import render_chat

TURNS = [{"role": "system", "content": "be brief"}, {"role": "user", "content": 'say "hé" <b>'}]
GIVEN = {
    "messages": TURNS,
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "eos_token": "</s>",
}

HONEST = [
    "{% for m in messages %}<{{ m.role }}>{{ m['content'] | trim }}\n{% endfor %}{{ eos_token }}",
    "{{ messages | tojson }}{{ messages | tojson(indent=2) }}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{{ ns.n }}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}"
    "{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}",
    "  {% if tools is none %}\n  a\n  {% endif %}\n{% if add_generation_prompt %}"
    "{{ dict(a=1).a }}{% endif %}",
    "{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f('a') * 3 }}{{ missing }}{{ '%05d' % 7 }}",
    "{{ strftime_now('%Y') | length }}",
]

HOSTILE = {
    "nested ranges": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}"
    "{% endfor %}",
    "a text without end": "{% for i in range(99999) %}{{ 'a' * 90000 }}{% endfor %}",
    "a text that doubles": "{% set n = namespace(s='a') %}"
    "{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "a product": "{{ ('a' * 10000000000) | length }}",
    "a power": "{{ (10 ** 10) ** (10 ** 10) }}",
    "a list": "{{ ([0] * 10000000000) | length }}",
    "a padded text": "{{ 'a'.ljust(10000000000) | length }}",
    "a format": "{{ '%10000000000d' % 1 }}",
    "a filter": "{{ 'a' | center(10000000000) | length }}",
    "recursion": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "brackets": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "a long file": "x" * 3_000_000,
    "the interpreter": "{{ messages.__class__.__mro__ }}",
    "a dunder in a namespace": "{% set n = namespace(__class__=1) %}",
    "a change of what is given": "{{ messages.append(1) }}",
    "no template": "{% for %}",
    "a refusal": "{{ raise_exception('no system role') }}",
    "a missing attribute": "{{ nothing.at.all }}",
    "no result": "{{ [].pop() }}",
}


@pytest.mark.parametrize("template", HONEST)
def test_a_template_renders_as_transformers_renders_it(template):
    from transformers.utils.chat_template_utils import render_jinja_template

    expected = render_jinja_template(
        [TURNS], chat_template=template, **{k: v for k, v in GIVEN.items() if k != "messages"}
    )
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert render_chat(template, GIVEN, "m") == expected[0]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_template_is_a_clear_error_in_bounded_time_and_memory(kind):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    start = time.monotonic()
    with pytest.raises(CallError, match="the chat template of m") as caught:
        render_chat(HOSTILE[kind], GIVEN, "m")
    assert time.monotonic() - start <= chat_template.WALL_SECONDS
    assert len(caught.value.message) <= 600
    assert caught.value.help
    assert max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) <= 2 << 20


def test_a_refusal_of_the_template_is_told_in_its_words():
    with pytest.raises(CallError, match="no system role"):
        render_chat(HOSTILE["a refusal"], GIVEN, "m")


def test_a_good_template_renders_after_a_bad_one_and_in_many_threads():
    with pytest.raises(CallError):
        render_chat(HOSTILE["a list"], GIVEN, "m")
    found: list[str] = []

    def work(k: int) -> None:
        found.append(
            render_chat("{{ messages[0].content }}", {"messages": [{"content": str(k)}]}, "m")
        )

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [str(k) for k in range(8)]
    assert len(chat_template._WORKERS) == 1


def test_a_machine_that_is_busy_ends_a_template_all_the_same(monkeypatch):
    monkeypatch.setattr(chat_template, "WALL_SECONDS", 0.3)
    monkeypatch.setattr(chat_template, "RENDER_SECONDS", 60)
    with pytest.raises(CallError, match="takes more than"):
        render_chat(HOSTILE["nested ranges"] + " ", GIVEN, "m")

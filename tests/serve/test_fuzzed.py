"""Whatever a request says, it is refused or answered: it never meets a mistake of ours."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serve.asking import FILES

NAMES = [
    "model", "prompt", "messages", "n", "seed", "max_tokens", "logprobs", "top_logprobs", "stream",
    "stream_options", "parameters", "options", "method", "islands", "timeout", "lookahead",
    "samples", "tokens", "blame", "temperature", "stop", "role", "content", "type", "text",
    "particles", "max_states", "ess", "draft", "width", "file", "source", "files", "program",
]  # fmt: skip
WORDS = [
    "say",
    "talk",
    "two_bits",
    "dead",
    "faulty",
    "smc",
    "exact",
    "beam",
    "auto",
    "none",
    "text",
]
TEXTS = st.sampled_from([*WORDS, "", "\ud800", "\0", "a" * 300, "../x", "é\u202e"]) | st.text(
    max_size=5
)
NUMBERS = st.sampled_from([0, 1, 2, -1, 2**63, 2**70, 1e308, float("nan"), float("inf"), 0.5])
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | TEXTS, inner, max_size=3)
    ),
    max_leaves=6,
)
MESSAGES = st.lists(st.fixed_dictionaries({"role": TEXTS, "content": VALUES}), max_size=3)
USUAL = {
    "model": st.sampled_from(WORDS),
    "prompt": TEXTS,
    "messages": MESSAGES,
    "parameters": st.dictionaries(st.sampled_from(["prompt", "n", "messages"]), VALUES, max_size=2),
    "options": st.dictionaries(st.sampled_from(NAMES), LEAVES, max_size=2),
    "tokens": st.just(300),
}
BODIES = st.builds(
    lambda usual, odd: {**usual, **odd},
    st.fixed_dictionaries({}, optional=USUAL),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2),
)
PATHS = ["/v1/completions", "/v1/chat/completions"]
PATHS += [f"/v1/programs/{name}/run" for name in FILES if name not in ("endless", "wrong")]


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(path=st.sampled_from(PATHS), body=BODIES)
def test_no_request_meets_a_mistake_of_ours(client, path, body):
    content = json.dumps(body).encode()
    answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400, 404, 422), (answer.text, body)
    assert "internal_error" not in answer.text, (answer.text, body)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"1", b"null", b'"x"', b'{"a"', b"\xff\xfe", b'{"model": "\\ud800"}', b"{}" * 9,
     b'{"seed": ' + b"9" * 5000 + b"}", b"[" * 5000],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(client, content):
    for path in PATHS[:3]:
        answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 404, 422), (content, answer.text)
        assert answer.json()["error"]["message"]

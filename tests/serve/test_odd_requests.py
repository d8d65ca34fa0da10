"""Requests that are JSON and nothing else that is sensible: each is refused in words."""

import json

import pytest

from tests.serve.asking import error_of, post

HUGE = 10**400


@pytest.mark.parametrize(
    "body",
    [
        {"timeout": HUGE},
        {"method": ["smc"]},
        {"method": {}},
        {"method": 5},
        {"lookahead": ["auto"]},
        {"lookahead": {}},
        {"seed": HUGE},
        {"islands": HUGE},
        {"options": {"particles": [1]}},
        {"options": {"particles": HUGE}},
        {"options": {"draft": {}}},
        {"options": {"resampling": [1]}},
        {"options": {"ess": HUGE}},
        {"options": {"n" * 1000: 1}},
        {"parameters": {"max_tokens": HUGE}, "timeout": 1},
        {"parameters": {"prompt": {}}},
        {"parameters": {"n" * 1000: 1}},
        {"logprobs": HUGE},
        {"stop": [HUGE]},
    ],
)
def test_a_field_of_another_form_is_refused(client, body):
    answer = post(client, "/v1/completions", model="say", prompt="", **body)
    assert answer.status_code in (200, 400, 422, 504), answer.text


@pytest.mark.parametrize("body", [{"tokens": HUGE}, {"timeout": 1e308}, {"samples": HUGE}])
def test_a_bound_that_no_number_has_is_refused(client, body):
    answer = post(client, "/v1/programs/say/run", parameters={"prompt": ""}, **body)
    assert answer.status_code == 400, answer.text


def test_lists_in_lists_without_end_are_refused(client):
    nested = "[" * 990 + "]" * 990
    text = '{"parameters": {"prompt": ' + nested + "}}"
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/programs/say/run", content=text, headers=headers)
    assert answer.status_code == 400, answer.text


def test_half_of_a_surrogate_pair_is_no_text(client):
    body = {"model": "say", "messages": [{"role": "user", "content": "\ud800"}], "logprobs": True}
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/chat/completions", content=json.dumps(body), headers=headers)
    assert answer.status_code == 400, answer.text


def test_a_name_without_end_is_no_program(client):
    error_of(
        post(client, "/v1/completions", model="x" * 900_000, prompt=""), 404, "model_not_found"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"seed": 1,', "the body is no JSON: Expecting"),
        (b'{"seed": "\xff"}', "the body of a request is JSON in UTF-8"),
    ],
)
def test_a_body_that_is_no_json_is_called_so(client, content, message):
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/programs/say/run", content=content, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_request")
    assert error["message"].startswith(message)
    assert error["param"] is None

"""Images in requests: data URLs go to parameters of the type image; a request names no file."""

from base64 import b64encode

import pytest

from tests.models.image_table import shade
from tests.serve.asking import TABLE, post, serving, settings_for

LOOK = (
    TABLE
    + """
program look(prompt: str, photo: image) -> str:
    t ~ prompt("")
    return prompt + ("dark" if photo == image("dark.png") else "other")
"""
)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    settings = settings_for(folder)
    (folder / "look.fk").write_text(LOOK, "utf-8")
    (folder / "dark.png").write_bytes(shade(10))
    with serving(settings) as client:
        yield client


def url(content):
    return "data:image/png;base64," + b64encode(content).decode()


def said(*urls):
    images = [{"type": "image_url", "image_url": {"url": u}} for u in urls]
    return [{"role": "user", "content": [{"type": "text", "text": "it is "}, *images]}]


def test_an_image_of_a_chat_or_of_a_run_is_a_data_url(client):
    for level, expected in ((10, "it is dark"), (200, "it is other")):
        body = {"model": "look", "messages": said(url(shade(level)))}
        answer = post(client, "/v1/chat/completions", **body).json()
        assert answer["choices"][0]["message"]["content"] == expected
        given = {"prompt": "it is ", "photo": url(shade(level))}
        ran = post(client, "/v1/programs/look/run", parameters=given).json()
        assert ran["posterior"][0]["value"] == expected


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ("dark.png", "is no data URL"),
        ("/etc/hostname", "is no data URL"),
        ("https://host/cat.png", "fetches and opens nothing"),
        ("data:image/png;base64,@@", "not in base64"),
        ("data:image/png;base64,AAAA", "is no image that can be read"),
        (7, "is no data URL"),
    ],
)
def test_what_is_no_image_is_refused_and_no_file_is_opened(client, sent, message):
    given = {"prompt": "", "photo": sent}
    answer = post(client, "/v1/programs/look/run", parameters=given)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    if isinstance(sent, str):
        chat = post(client, "/v1/chat/completions", model="look", messages=said(sent))
        assert (chat.status_code, message in chat.json()["error"]["message"]) == (400, True)


def test_as_many_images_as_the_program_takes(client):
    two = said(url(shade(1)), url(shade(2)))
    for model, messages, message in (
        ("look", two, "takes 1 image, not 2"),
        ("talk", said(url(shade(1))), "takes 0 images, not 1"),
    ):
        answer = post(client, "/v1/chat/completions", model=model, messages=messages)
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]
    sound = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]
    answer = post(client, "/v1/chat/completions", model="look", messages=sound)
    assert "sounds and files are not read" in answer.json()["error"]["message"]

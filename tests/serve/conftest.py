"""A server in this process, for all tests of a file."""

import pytest

from tests.serve.asking import serving, settings_for


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    told = []
    with serving(settings_for(tmp_path_factory.mktemp("programs")), told) as client:
        client.told = told
        yield client

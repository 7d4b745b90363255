from __future__ import annotations

from collections.abc import Iterator

import pytest

from .stage import Theatre


@pytest.fixture(scope="session")
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with Theatre(tmp_path_factory.mktemp("stage")) as open_:
        yield open_


@pytest.fixture
def theatre(_house: Theatre) -> Iterator[Theatre]:
    """Where actors come from; none of them outlives its test."""
    yield _house
    _house.dismiss()

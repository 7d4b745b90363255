from __future__ import annotations

from collections.abc import Iterator

import pytest

from .stage import Theatre


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """Open the theatre."""
    with Theatre(tmp_path_factory.mktemp("stage")) as open_:
        yield open_


@pytest.fixture
def theatre(house: Theatre) -> Iterator[Theatre]:
    """Where actors come from; none of them outlives its test."""
    yield house
    house.dismiss()

"""What the tests of both programs stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from answering import Orchestrator


@pytest.fixture
def orchestrator() -> Iterator[Orchestrator]:
    """A web server that both programs take for the orchestrator."""
    made = Orchestrator()
    yield made
    made.server.shutdown()
    made.server.server_close()

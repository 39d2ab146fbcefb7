"""What both programs of this image do: ask the orchestrator again and again, act on its answer, and end on SIGTERM."""

from __future__ import annotations

import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from .child import Child
from .health import beat
from .live import NoAnswer
from .log import note

EX_CONFIG = 78  # sysexits.h: configuration error


class Follower(ABC):
    """Makes what runs follow what the orchestrator says; without an answer what runs goes on."""

    def __init__(self) -> None:
        self.answered = True
        self.failures = 0  # of rounds, or of one stream in a round

    @abstractmethod
    def follow(self) -> None:
        """Ask once and act on the answer.

        Raises:
            NoAnswer: there was none.
        """

    @abstractmethod
    def stop(self) -> None:
        """End everything that runs."""

    def round(self) -> None:
        """Follow once; that the answers stay out, and that they come again, is noted once each.

        Whatever else goes wrong is told with its traceback, and the next round tries again; this one has no heartbeat.
        """
        try:
            self.follow()
        except NoAnswer as reason:
            if self.answered:
                note("orchestrator", result="no answer", reason=str(reason))
            self.answered = False
            return
        except Exception:
            self.failed("a round")
            return
        if not self.answered:
            note("orchestrator", result="answers again")
        self.answered = True
        beat()

    def failed(self, what: str) -> None:
        """Tell that *what* failed, from within the exception's handler."""
        self.failures += 1
        note("failure", what=what, traceback=traceback.format_exc())

    def attempt(self, slug: str, act: Callable[[], None]) -> None:
        """Do *act* for one stream; its failure is told and hurts no other stream."""
        try:
            act()
        except NoAnswer:
            raise
        except Exception:
            self.failed(slug)

    def run(self, event: str, every: float, **details: object) -> None:
        """Follow every so many seconds, until SIGTERM; the log calls it *event*, and begins with *details*."""
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        note(event, result="started", **details)
        while not stopping.wait(every):
            self.round()
        self.stop()
        note(event, result="ended")


def stop_all(children: Iterable[Child]) -> None:
    """End *children* at the same time, and wait until they have gone."""
    children = list(children)
    for child in children:
        child.stop()
    for child in children:
        child.join()

"""What the servers of the testbed have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class LocalServer(ABC):
    """A server on this machine. As a context manager it runs for the block, and a failed start leaves nothing behind."""

    @abstractmethod
    def start(self) -> Self:
        """Start the server; return when it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the server, also one that was not started."""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

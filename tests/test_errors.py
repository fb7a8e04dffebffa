"""The exceptions: each is in the documented tree, and `find_cause` returns the cause of a group."""

from __future__ import annotations

import worker.errors as module
from worker.errors import BadModel, FatalError, GistStreamError, InvariantBroken, PublishFailed, find_cause


def test_the_docstring_lists_every_exception() -> None:
    classes = [cls for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, Exception)]
    for cls in classes:
        assert cls.__name__ in (module.__doc__ or "")
        assert issubclass(cls, GistStreamError) or cls is InvariantBroken


def test_every_fatal_error_has_an_exit_code_of_its_own() -> None:
    """The docstring has the same codes."""
    codes = {cls.__name__: cls.exit_code for cls in FatalError.__subclasses__()}
    assert len(set(codes.values())) == len(codes)
    for name, code in codes.items():
        line = next(line for line in (module.__doc__ or "").splitlines() if f" {name} " in line)
        assert line.endswith(f"exit code {code}")


def test_find_cause_returns_the_fatal_error_of_a_group() -> None:
    """Without a fatal error the first exception is returned."""
    stop = BadModel("why")
    group = BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [PublishFailed(), stop])])
    assert find_cause(group) is stop
    first = ValueError()
    assert find_cause(BaseExceptionGroup("", [first, KeyError()])) is first

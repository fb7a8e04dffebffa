"""The failures: each has its place in the tree, and groups give up their cause."""

from __future__ import annotations

import worker.errors as module
from worker.errors import BadModel, FatalError, GistStreamError, InvariantBroken, PublishFailed, find_cause


def test_every_failure_of_ours_is_in_the_tree() -> None:
    """The drawing at the head of the module names each class, and each is one of ours."""
    classes = [it for it in vars(module).values() if isinstance(it, type) and issubclass(it, Exception)]
    for it in classes:
        assert it.__name__ in (module.__doc__ or "")
        assert issubclass(it, GistStreamError) or it is InvariantBroken


def test_every_stop_has_an_exit_code_of_its_own() -> None:
    """An orchestrator can tell them apart; the drawing says the same numbers."""
    codes = {it.__name__: it.exit_code for it in FatalError.__subclasses__()}
    assert len(set(codes.values())) == len(codes)
    for name, code in codes.items():
        line = next(line for line in (module.__doc__ or "").splitlines() if f" {name} " in line)
        assert line.endswith(f"exit code {code}")


def test_a_group_gives_up_the_stop_in_it() -> None:
    """However deep it lies; else the first of its failures."""
    stop = BadModel("why")
    group = BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [PublishFailed(), stop])])
    assert find_cause(group) is stop
    first = ValueError()
    assert find_cause(BaseExceptionGroup("", [first, KeyError()])) is first

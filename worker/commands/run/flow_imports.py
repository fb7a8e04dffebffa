"""Imports the modules of the flow while the model loads."""

from __future__ import annotations

import importlib

_MODULES = ("worker.composition.pipeline", "worker.broker.consumer.consumer", "worker.broker.admin.topics")


def import_flow(delivery: str) -> None:
    """Import the modules of the flow with a delivery.

    Call this in a thread: the files of the model are verified and its weights are laid out without the interpreter.
    """
    for name in (*_MODULES, f"worker.broker.delivery.{delivery}"):
        importlib.import_module(name)

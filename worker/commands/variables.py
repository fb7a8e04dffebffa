"""Variables with the prefix of the settings that have no effect, in the environment and in `.env`."""

from __future__ import annotations

import os

from pydantic_settings import DotEnvSettingsSource

from worker.errors import BadSettings
from worker.settings import Settings
from worker.settings.connection import PREFIX
from worker.settings.environment import ENV_FILE, check_file, describe_unreadable, find_file_faults, find_unknown


def find_warnings() -> list[str]:
    """Return a line for each variable with the prefix that has no effect; raises `BadSettings` if `.env` is unreadable."""
    check_file(PREFIX)
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    try:
        file_variables = DotEnvSettingsSource(Settings).env_vars
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(describe_unreadable(error)) from None
    return [
        *find_unknown(os.environ, known, prefix=PREFIX),
        *(f"{ENV_FILE}: {line}" for line in find_unknown(file_variables, known, prefix=PREFIX)),
        *find_file_faults(),
    ]

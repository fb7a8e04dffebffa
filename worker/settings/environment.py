"""Checks of variables before the validation of settings: unknown names, unreadable files and lines, quotation marks, NUL bytes."""

from __future__ import annotations

import contextlib
import difflib
import io
import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv.parser import parse_stream

from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENV_FILE = Path(".env")
#: UTF-8, with or without a byte order mark.
ENV_FILE_ENCODING = "utf-8-sig"
# Kubernetes sets variables for the services of a namespace in each pod: GIST_STREAM_SERVICE_HOST for a service `gist-stream`.
_SERVICE = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_ADDRESS = re.compile(r"""(\[(?P<ip>[^\]]+)\]|[^\s:/\[\]@"']+)(:(?P<port>[0-9]{1,5}))?""")
# The letters of the prefix in another order, or without the underscore after them.
_SIMILAR_PREFIX = re.compile("GIST|GITS|GSIT|GSTI|GTIS|IGST")
_MAX_PORT = 65_535
_MIN_QUOTED_CHARS = 2


def find_unknown(variables: Mapping[str, str | None], known: set[str], *, prefix: str) -> Iterator[str]:
    """Yield a line for each variable with the prefix that is not a setting, with the closest setting; never a value.

    A variable whose prefix is misspelled is reported if its ending is close to that of a setting.
    """
    endings = sorted(setting.removeprefix(prefix) for setting in known)
    for given, value in sorted(variables.items()):
        name = given.upper()
        found = _SIMILAR_PREFIX.match(name)
        if found is None or name in known or _is_service(name, value or ""):
            continue
        near = difflib.get_close_matches(name.removeprefix(prefix).removeprefix(found[0]), endings, n=1)
        if near or name.startswith(prefix):
            yield f"{name} is not a setting" + (f": did you mean {prefix}{near[0]}?" if near else " and has no effect")


def _is_service(name: str, value: str) -> bool:
    """Return whether Kubernetes or a Docker link set a variable; their `<SERVICE>_PORT` is a URL."""
    return _SERVICE.fullmatch(name) is not None or (name.endswith("_PORT") and "://" in value)


def find_file_faults() -> Iterator[str]:
    """Yield the reason if no setting is read from an existing `.env`. A virtual environment of this name is ignored."""
    try:
        is_there, is_file = ENV_FILE.is_symlink() or ENV_FILE.exists(), ENV_FILE.is_file()
    except OSError as error:
        yield f"{ENV_FILE} cannot be read: {error.strerror}"
        return
    if is_there and not is_file and not (ENV_FILE / "pyvenv.cfg").exists():
        yield f"{ENV_FILE} is not a file, so no setting is read from it"


def check_file(prefix: str) -> None:
    """Raise `BadSettings` if `.env` is a named pipe, or has a line that names the prefix and from which no value is read.

    Reading a pipe would wait for a writer, without end. Lines of other programs are ignored.
    """
    # The reader of the file reports these errors.
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if ENV_FILE.is_fifo():
            raise BadSettings(f"{ENV_FILE} is a named pipe: only a regular file is read; pass the settings as variables instead")
        for line in parse_stream(io.StringIO(ENV_FILE.read_text(ENV_FILE_ENCODING))):
            text = line.original.string.replace("\0", "")
            name = re.match(rf"[\s\ufeff-]*(?:(?:export|set)\s+)?({prefix}\w*)", text, re.IGNORECASE)
            # A key that only begins with the name of a setting is an unknown variable.
            if name and (line.value is None or not str(line.key).upper().startswith(prefix)):
                number = line.original.line + text[: name.start(1)].count("\n")
                advice = "write NAME=value, with two quotation marks or none, in UTF-8"
                raise BadSettings(f"{name[1].upper()}: {ENV_FILE}, line {number}: no value can be read: {advice}")


def describe_unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Return one line about an unreadable `.env`, with the name of a setting whose value is not UTF-8; never a value."""
    if isinstance(error, OSError):
        return f"{ENV_FILE} cannot be read: {error.strerror}"
    before = error.object[: error.start]
    line = before.splitlines(keepends=True)[-1] if before and not before.endswith((b"\n", b"\r")) else b""
    name = re.match(rb"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=", line)
    place = f"{ENV_FILE}, line {len((before + b'.').splitlines())}"
    return f"{name[1].decode() if name else 'a setting'}: {place}: the value is not UTF-8; save the file as UTF-8"


def describe_fault(value: str, *, is_secret: bool) -> str | None:
    """Return the fault of the characters of a value, or None. A secret may be quoted or blank."""
    if "\0" in value:
        return "the value contains a NUL byte"
    if any("\ud800" <= char <= "\udfff" for char in value):
        return "the value has bytes that are not text in the encoding of this locale: use UTF-8"
    if is_secret or not value:
        return None
    if all(char.isspace() or not char.isprintable() for char in value):
        return "the value is blank"
    if len(value) >= _MIN_QUOTED_CHARS and value[0] == value[-1] and value[0] in "\"'":
        return "the value begins and ends with a quotation mark, which Docker's --env-file keeps: remove the marks"
    return None


def is_address(address: str) -> bool:
    """Return whether this is the address of a broker: `host`, `host:port`, `[IPv6]`, `[IPv6]:port` or an IPv6 address."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return _is_ipv6(address)
    is_host = _is_ipv6(found["ip"]) if found["ip"] is not None else True
    return is_host and (found["port"] is None or 0 < int(found["port"]) <= _MAX_PORT)


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True

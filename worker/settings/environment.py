"""What can be wrong with variables before any setting is validated: unknown names, files that cannot be read, quotes, NUL bytes."""

from __future__ import annotations

import difflib
import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENV_FILE = Path(".env")
#: UTF-8, with or without a byte order mark.
ENV_FILE_ENCODING = "utf-8-sig"
# Kubernetes gives each pod the addresses of the services of its namespace: a service `gist-stream` gives GIST_STREAM_SERVICE_HOST.
_SERVICE = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_ADDRESS = re.compile(r"""(\[(?P<ip>[^\]]+)\]|[^\s:/\[\]@"']+)(:(?P<port>[0-9]{1,5}))?""")
_MAX_PORT = 65_535
_MIN_QUOTED_CHARS = 2


def find_unknown(variables: Mapping[str, str | None], known: set[str], *, prefix: str) -> Iterator[str]:
    """Yield a line for each variable with our prefix that is no setting, with the nearest name of a setting; never a value."""
    endings = sorted(setting.removeprefix(prefix) for setting in known)
    for given, value in sorted(variables.items()):
        name = given.upper()
        if name.startswith(prefix) and name not in known and not _is_service(name, value or ""):
            near = difflib.get_close_matches(name.removeprefix(prefix), endings, n=1)
            yield f"{name} is no setting" + (f": did you mean {prefix}{near[0]}?" if near else " and has no effect")


def _is_service(name: str, value: str) -> bool:
    """Return whether Kubernetes or a Docker link set a variable; `<SERVICE>_PORT` of these is a URL."""
    return _SERVICE.fullmatch(name) is not None or (name.endswith("_PORT") and "://" in value)


def find_file_faults() -> Iterator[str]:
    """Yield why no setting is read from a `.env` that is there. A virtual environment of that name is not meant for us."""
    try:
        is_there, is_file = ENV_FILE.is_symlink() or ENV_FILE.exists(), ENV_FILE.is_file()
    except OSError as error:
        yield f"{ENV_FILE} cannot be read: {error.strerror}"
        return
    if is_there and not is_file and not (ENV_FILE / "pyvenv.cfg").exists():
        yield f"{ENV_FILE} is not a file: no setting is read from there"


def describe_unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Return one line about a `.env` that cannot be read, with the setting whose value is not UTF-8; never a value."""
    if isinstance(error, OSError):
        return f"{ENV_FILE} cannot be read: {error.strerror}"
    before = error.object[: error.start]
    line = before.splitlines(keepends=True)[-1] if before and not before.endswith((b"\n", b"\r")) else b""
    name = re.match(rb"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=", line)
    place = f"{ENV_FILE}, line {len((before + b'.').splitlines())}"
    return f"{name[1].decode() if name else 'a setting'}: {place}: it is not UTF-8; save the file as UTF-8"


def describe_fault(value: str, *, is_secret: bool) -> str | None:
    """Return what is wrong with the characters of any setting's value; None where nothing is. A secret may be quoted or blank."""
    if "\0" in value:
        return "it holds a NUL byte"
    if any("\ud800" <= char <= "\udfff" for char in value):
        return "it holds bytes that are no text in the encoding of this locale: use UTF-8"
    if is_secret or not value:
        return None
    if all(char.isspace() or not char.isprintable() for char in value):
        return "it is blank"
    if len(value) >= _MIN_QUOTED_CHARS and value[0] == value[-1] and value[0] in "\"'":
        return "it begins and ends with a quotation mark, which Docker's --env-file keeps: leave the marks out"
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

"""Look up known vulnerabilities of what requirements.lock names.

python .ci/audit.py [LOCK]    exits 0 where none is known, 1 where some are, 75 where not everything could be looked up
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Brought for the occasion, in an environment of its own: what audits us is none of our dependencies.
TOOL = "pip-audit==2.10.*"
OPTIONS = ("--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json")
VULNERABLE, NOT_AUDITED = 1, 75


def judge(report: str) -> tuple[int, list[str]]:
    """Return the exit code for the tool's report, and what to say; what it left out it has not found harmless."""
    try:
        audited: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return NOT_AUDITED, ["NOT AUDITED: there is no report; the database of vulnerabilities may be out of reach from here"]
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for package in audited
        for flaw in package.get("vulns", ())
    ]
    skipped = [package["name"] for package in audited if "skip_reason" in package]
    lines = [*found, f"{len(audited) - len(skipped)} of {len(audited)} packages audited, {len(found)} known vulnerabilities"]
    if skipped:
        lines.append(f"NOT AUDITED: {', '.join(skipped)}: the database of vulnerabilities does not answer for them from here")
    return (VULNERABLE if found else NOT_AUDITED if skipped or not audited else 0), lines


def main(arguments: list[str]) -> int:
    """Audit and say what came of it; return the exit code."""
    lock = Path(arguments[0]) if arguments else ROOT / "requirements.lock"
    command = [sys.executable, "-P", "-m", "uv", "tool", "run", "--from", TOOL, "pip-audit", *OPTIONS, "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  fixed arguments
    code, lines = judge(done.stdout)
    if code == NOT_AUDITED:
        # It calls what it could not look up free of known flaws.
        sys.stderr.write(done.stderr.replace("No known vulnerabilities found", "").strip() + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Look the installed packages up among known vulnerabilities (pip-audit), and say so where that cannot be done.

Where PyPI's database cannot be reached pip-audit passes over every package and ends well; that must not look like
a result.  Usage: ``python tests/audit.py``; the status is 1 if a package has a known vulnerability.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def main() -> int:
    """Audit; return the exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--skip-editable", "-f", "json"],
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print("pip-audit did not get an answer from its database: NOTHING WAS AUDITED")
        return 0
    audited = [one for one in found if "skip_reason" not in one]
    for one in audited:
        for known in one["vulns"]:
            print(f"{one['name']} {one['version']}: {known['id']}, fixed in {known['fix_versions']}")
    if audited:
        print(f"{len(audited)} packages looked up, {len(found) - len(audited)} not known to the database")
    else:
        print("PyPI's database of vulnerabilities cannot be reached from here: NOTHING WAS AUDITED")
    return 1 if any(one["vulns"] for one in audited) else 0


if __name__ == "__main__":
    sys.exit(main())

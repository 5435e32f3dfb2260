#!/usr/bin/env python3
"""Checks that every test which specs/lessons.md names exists, under exactly that name."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LESSONS = ROOT / "specs" / "lessons.md"
FOLDERS = ("ledger", "node", "tui", "tests")


def main():
    functions = set()
    for folder in FOLDERS:
        for source in (ROOT / folder).rglob("*.rs"):
            functions.update(re.findall(r"\bfn ([a-z0-9_]+)\(", source.read_text()))
    rows = [line.split("|") for line in LESSONS.read_text().splitlines() if line.startswith("| ")][1:]
    named = [name for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row[3])]
    without = [row[1].strip() for row in rows if not re.search(r"`[a-z0-9_]+`", row[3])]
    missing = [name for name in named if name not in functions]
    for lesson in without:
        print(f"no test is named for: {lesson}", file=sys.stderr)
    for name in missing:
        print(f"there is no such test: {name}", file=sys.stderr)
    if without or missing or not named:
        sys.exit(1)
    print(f"{len(rows)} lessons, {len(named)} tests")


if __name__ == "__main__":
    main()

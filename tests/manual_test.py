#!/usr/bin/env python3
"""Compares a program's --help with its man page: every switch and exit status of one has to stand in the other.

Usage: manual_test.py PROGRAM PAGE
"""

import re
import subprocess
import sys


def switches(text):
    """Long switches, and short ones that stand at the start of a word."""
    return set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*[a-z])", text))


def statuses(text, heading, end):
    """The numbers that begin a line between a heading and the next match of `end`."""
    _, _, rest = text.partition(heading + "\n")
    body = re.split(end, rest, maxsplit=1, flags=re.MULTILINE)[0]
    return set(re.findall(r"^(?:\.B)? *(\d+)\b", body, re.MULTILINE))


def main(program, page):
    help_text = subprocess.run([program, "--help"], check=True, capture_output=True, text=True).stdout
    with open(page, encoding="utf-8") as file:
        source = file.read().replace("\\-", "-")
    problems = []
    shown, described = switches(help_text), switches(source)
    problems += [f"{switch} is in --help only" for switch in sorted(shown - described)]
    problems += [f"{switch} is in the manual only" for switch in sorted(described - shown)]
    in_help, in_page = statuses(help_text, "Exit status:", r"^\S"), statuses(source, ".SH EXIT STATUS", r"^\.SH")
    if in_help and in_help != in_page:
        problems.append(f"exit status: {sorted(in_help)} in --help, {sorted(in_page)} in the manual")
    name = program.rsplit("/", 1)[-1]
    if name not in source:
        problems.append(f"the manual does not name {name}")
    print("\n".join(problems) or "they agree")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

#!/usr/bin/env python3
"""Compares a program's --help with its man page: every switch, option word and exit status of one has to stand in the other.
With SOURCE, the words that the worker ignores are compared with the page as well.

Usage: manual_test.py PROGRAM PAGE [SOURCE]
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


def letters(lines):
    """Short switches."""
    return set(re.findall(r"(?<![\w-])(-[A-Za-z])(?![\w-])", "\n".join(lines)))


def section(source, name):
    return source.partition(f".SH {name}\n")[2].partition("\n.SH ")[0]


def names(words):
    """What counts of an option word: its name, and whether a value follows."""
    return {re.sub("=.*", "=", word) for word in words}


def compare(what, shown, described):
    return [f"{what} {one} is in --help only" for one in sorted(shown - described)] + \
           [f"{what} {one} is in the manual only" for one in sorted(described - shown)]


def option_words(help_text, source):
    """Honoured words and all others are told apart on both sides."""
    problems = []
    headings = re.findall(r"^Option words (.*):$", help_text, re.MULTILINE)
    chapters = re.split(r"^\.SS .*\n", section(source, "OPTION WORDS"), flags=re.MULTILINE)[1:]
    if len(headings) != len(chapters):
        problems.append(f"{len(headings)} kinds of words in --help, {len(chapters)} in the manual")
    for heading, chapter in zip(headings, chapters):
        shown = re.search(rf"^Option words {heading}:\n((?:  .*\n)*)", help_text, re.MULTILINE).group(1).split()
        described = [word for line in re.findall(r"^\.TP\n\.B (.*)$", chapter, re.MULTILINE) for word in line.split()]
        problems += compare(f"word {heading}", names(shown), names(described))
    return problems


def ignored_words(source, code):
    """The worker's table against the page."""
    with open(code, encoding="utf-8") as file:
        table = re.search(r"kIgnored\[\] = \{(.*?)\};", file.read(), re.DOTALL).group(1)
    line = re.search(r"^\.B (.*)$", section(source, "WORDS OF KERNEL EXT4").partition(".PP\n")[2], re.MULTILINE).group(1)
    known, described = set(re.findall(r'"([^"]+)"', table)), set(line.split())
    return [f"{word}: in one of code and manual only" for word in sorted(known ^ described)]


def main(program, page, code=None):
    help_text = subprocess.run([program, "--help"], check=True, capture_output=True, text=True).stdout
    with open(page, encoding="utf-8") as file:
        source = file.read().replace("\\-", "-")
    problems = []
    shown, described = switches(help_text), switches(source)
    problems += compare("switch", shown, described)
    problems += compare("switch", letters(re.findall(r"^  (-.*?)(?:  |$)", help_text, re.MULTILINE)),
                        letters(re.findall(r"^\.TP\n\.B[IR]? (.*)$", section(source, "SWITCHES"), re.MULTILINE)))
    problems += option_words(help_text, source)
    problems += ignored_words(source, code) if code else []
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

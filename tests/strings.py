#!/usr/bin/env python3
"""List every user-visible string of celeriac, one per line, as `file:line: kind: text`.

    python3 tests/strings.py [--check] [KIND...]

With `--check`, print only those that break a mechanical style rule, and exit with 1 if there are any.
"""

import argparse
import json
import re
import sys
from bisect import bisect
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("help", "log", "error", "hint", "metric", "alert", "panel")

# Phrases that no native speaker would write in a message.
RIDDLES = re.compile(
    r"\b(begins? anew|of it stands?|stands? (in|on|there)|what (is|was) there|it says so|nobody takes|for who|"
    r"who would|is none (that|of)|and this is none|no \w+ comes|(is|are|was|were) told of|is heard)\b",
    re.IGNORECASE,
)
BRITISH = re.compile(r"\b(re)?(behaviour|colour|favour|honour|labell(ed|ing)|learnt|licence)", re.IGNORECASE)
# The profiles of other exporters repeat the help texts of those exporters, with their style.
NATIVE_HELP = re.compile(r"src/(telemetry|core/profile/(native|levels|groups))\b")
# Files in which every string that is prose is user-visible.
PROSE = {
    "error": re.compile(r"src/(config|migrate)\b"),
    "hint": re.compile(r"src/(doctor/|core/state/hint|sink/advice|sink/refusal)"),
    "metric": re.compile(r"src/(telemetry/metrics|core/profile/)"),
}

RUST_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)"""
    r"""|b?r(?P<hashes>\#*)"(?P<raw>.*?)"(?P=hashes)"""
    r'''|"(?P<text>(?:[^"\\]|\\.)*)"'''
    r"""|'(?:[^'\\\n]|\\[^\n]{1,9}?)'""",
    re.DOTALL,
)
LOG_CALL = re.compile(r"\b(?:trace|debug|info|warn|error)!\(")
ERROR_CALL = re.compile(r"#\[error\(")
CLAP_ITEM = re.compile(r"#\[derive\([^)]*\b(?:Parser|Args|Subcommand|ValueEnum)\b[^)]*\)\]")
DOC_COMMENT = re.compile(r"(?: *///[^\n]*\n)+")
CLAP_TEXT = re.compile(r"\b(?:help|long_help|about|long_about) = $")
# Strings for developers: reasons of lint exceptions and of panics.
ASIDE = re.compile(r"(?:reason =|expect\(|unreachable!\()\s*$")
TEST_MODULE = re.compile(r"^#\[cfg\(test\)\]\nmod \w+ \{", re.MULTILINE)


class Source:
    """A Rust file: its code without comments and string contents, and the strings by position."""

    def __init__(self, path):
        self.path = path
        self.raw = path.read_text()
        self.newlines = [at for at, char in enumerate(self.raw) if char == "\n"]
        self.strings = []
        self.code = RUST_TOKEN.sub(self._blank, self.raw)
        tests = TEST_MODULE.search(self.code)
        self.end = tests.start() if tests else len(self.code)

    def _blank(self, match):
        text = match["raw"] if match["raw"] is not None else match["text"]
        if text is not None:
            if match["raw"] is None:
                text = re.sub(r"\\\n\s*", "", text).replace('\\"', '"').replace("\\\\", "\\")
            if not ASIDE.search(self.raw, max(0, match.start() - 60), match.start()):
                self.strings.append((match.start(), text))
        return re.sub(r"[^\n]", " ", match[0])

    def line(self, at):
        return bisect(self.newlines, at - 1) + 1

    def calls(self, pattern):
        """The strings in the arguments of each call that `pattern` matches, as lists of (line, text)."""
        for match in pattern.finditer(self.code, 0, self.end):
            depth, at = 1, match.end()
            while depth and at < self.end:
                depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(self.code[at], 0)
                at += 1
            yield [(self.line(start), text) for start, text in self.strings if match.end() <= start < at]


def is_prose(text):
    return " " in text.strip() and re.search(r"[a-z]{2}", text) is not None


def rust_texts(source, name):
    yield from help_texts(source)
    for strings in source.calls(LOG_CALL):
        # Fields may contain strings too; the message is the last one.
        yield from (("log", line, text) for line, text in strings[-1:])
    for strings in source.calls(ERROR_CALL):
        yield from (("error", line, text) for line, text in strings[:1] if is_prose(text))
    texts = [(source.line(at), text) for at, text in source.strings if at < source.end and is_prose(text)]
    for kind in (kind for kind, files in PROSE.items() if files.match(name)):
        yield from ((kind, line, text) for line, text in texts)


def help_texts(source):
    """Doc comments of clap's items, with lines joined, and the strings that replace them."""
    for match in CLAP_ITEM.finditer(source.code, 0, source.end):
        depth, at = 0, source.code.index("{", match.end())
        while at < source.end:
            depth += {"{": 1, "}": -1}.get(source.code[at], 0)
            at += 1
            if not depth:
                break
        # The comment of the item itself comes before the attribute; only that of the program is shown.
        start = match.start()
        if "Parser" in match[0]:
            start = re.search(r"(?: *///[^\n]*\n)*$", source.raw[:start]).start()
        for comment in DOC_COMMENT.finditer(source.raw, start, at):
            text = " ".join(line.strip().removeprefix("///").strip() for line in comment[0].strip().split("\n"))
            yield "help", source.line(comment.start()), text
        for start, text in source.strings:
            if match.end() <= start < at and CLAP_TEXT.search(source.raw, max(0, start - 20), start):
                yield "help", source.line(start), text


def alert_texts(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if match := re.match(r"\s+(?:summary|description): (.*)", line):
            yield "alert", number, match[1].strip("'\"")


def panel_texts(path):
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if match := re.match(r'\s*"(?:title|description)": ("(?:[^"\\]|\\.)*")', line):
            if text := json.loads(match[1]):
                yield "panel", number, text


def texts():
    for path in sorted((ROOT / "src").rglob("*.rs")):
        if "tests" not in path.relative_to(ROOT).with_suffix("").parts:
            found = rust_texts(Source(path), path.relative_to(ROOT).as_posix())
            # A string that is found twice keeps the kind of the first match.
            first = {(line, text): kind for kind, line, text in reversed([*found])}
            yield from ((path, kind, line, text) for (line, text), kind in sorted(first.items()))
    for path in sorted((ROOT / "deploy/prometheus").glob("*.yaml")):
        yield from ((path, *text) for text in alert_texts(path))
    for path in sorted((ROOT / "deploy/grafana").glob("*.json")):
        yield from ((path, *text) for text in panel_texts(path))


def faults(name, kind, text):
    if kind == "log":
        # Names such as TLS keep their capitals.
        if re.match(r"[A-Z](?![A-Z])", text):
            yield "a log message begins in lower case"
        if text.endswith("."):
            yield "a log message has no full stop at its end"
    if kind == "metric" and NATIVE_HELP.match(name):
        if not text[:1].isupper():
            yield "metric help begins with a capital letter"
        if not text.endswith("."):
            yield "metric help ends with a full stop"
    if match := RIDDLES.search(text):
        yield f"plain English has no `{match[0]}`"
    if match := BRITISH.search(text):
        yield f"`{match[0]}` is not American spelling"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="print only texts that break a rule; exit with 1 if any do")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"kinds to list, of {', '.join(KINDS)}; all by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.kinds) - set(KINDS):
        parser.error(f"unknown kind: {', '.join(sorted(unknown))}")
    failed = False
    for path, kind, line, text in texts():
        if arguments.kinds and kind not in arguments.kinds:
            continue
        name = path.relative_to(ROOT).as_posix()
        shown = f"{name}:{line}: {kind}: {text}".replace("\n", "\\n")
        if not arguments.check:
            print(shown)
        for fault in faults(name, kind, text) if arguments.check else ():
            failed = True
            print(f"{shown}\n    {fault}")
    sys.exit(failed)


if __name__ == "__main__":
    main()

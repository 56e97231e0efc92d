#!/usr/bin/python3
"""Counts the tests inside Bazel's test targets, from what they reported in this very run.

Usage: tools/count_tests.py [--sum] EVENTS...    EVENTS: of bazel test --build_event_json_file

Bazel reports that a target passed; this reports how many tests it ran. Exits with status 1 if a
target ran none, or has failures. With --sum, it writes only one line, for all tests in all files.
"""

import argparse
import collections
import json
import pathlib
import sys
import urllib.parse
import xml.etree.ElementTree


def outcome(case):
    """The outcome of a <testcase>, as pytest, GoogleTest and Bazel write it."""
    children = {child.tag for child in case}
    if children & {"failure", "error"}:
        return "failed"
    if "skipped" in children or case.get("status") == "notrun":
        return "skipped"
    return "passed"


def reports(events):
    """Yields (target, test.xml) of each test that `events` lists, each shard on its own."""
    last_attempt = {}
    for line in events.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if "testResult" not in event:
            continue
        result = event["id"]["testResult"]
        for output in event["testResult"].get("testActionOutput", []):
            if output["name"] == "test.xml":
                path = urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
                last_attempt[result["label"], result.get("shard", 1)] = pathlib.Path(path)
    for (target, _), path in sorted(last_attempt.items()):
        yield target, path


def count(events):
    """Returns {target: Counter of outcomes} and {why: Counter of targets} for skipped tests."""
    targets = collections.defaultdict(collections.Counter)
    skips = collections.Counter()
    for target, path in reports(events):
        targets[target].update()
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            targets[target][outcome(case)] += 1
            for skipped in case.iter("skipped"):
                skips[target, skipped.get("message") or "no reason given"] += 1
    return targets, skips


def in_words(counter):
    return ", ".join(f"{counter[word]} {word}" for word in ("passed", "failed", "skipped"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sum", action="store_true", help="write one line only")
    parser.add_argument("events", nargs="+", type=pathlib.Path)
    options = parser.parse_args()

    total = collections.Counter()
    hollow = []
    for events in options.events:
        targets, skips = count(events) if events.exists() else ({}, {})
        for target, outcomes in targets.items():
            total.update(outcomes)
            if outcomes["passed"] + outcomes["failed"] == 0:
                hollow.append(target)
            if not options.sum:
                print(f"{target}: {in_words(outcomes)}")
        if not options.sum:
            for (target, why), number in skips.items():
                print(f"  skipped in {target}, {number} times: {why}")
    if not options.sum:
        for target in hollow:
            print(f"{target}: executed no test")
    print(in_words(total))
    return 1 if hollow or total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())

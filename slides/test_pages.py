"""The stages' pages: one pattern, and what each says can be followed."""

from __future__ import annotations

import pathlib
import re
import shutil

import pytest

from harness.properties import verdict
from harness.properties.table import BY_NAME
from harness.solutions import naive
from slides import glossary, living, step

HERE = pathlib.Path(".").resolve()
STAGES = step.stages(HERE)
MAP = "00_naive"
PAGES = [MAP, *STAGES]  # in the order in which they are read
MAPPED = STAGES[:STAGES.index("08c_network") + 1]  # whose layers the map's container has
HEADINGS = ["What leaks without it", "The idea", "By hand", "The system calls", "The order",
            "Try it", "An attack", "Write it yourself", "The code", "What changes in main.cc",
            "Exercises", "What still leaks"]
BY_HAND = ["04_namespaces", "06_pivot_root", "07_cgroups", "08a_overlayfs", "08c_network"]
MOST_TO_READ = 45  # lines of code that "Read these ... lines" may ask for


def text_of(page: str) -> str:
    return (HERE / "stages" / page / "README.md").read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def transcripts(text: str) -> list[str]:
    return re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_they_are_those_of_the_table():
    assert tuple(stage.split("_")[0] for stage in STAGES) == verdict.STAGES[1:]


@pytest.mark.parametrize("stage", STAGES)
def test_the_readme_quotes_a_line_of_main_cc(stage):
    """Its table names the calls that the stage adds; "…" stands for arguments."""
    code = re.search(rf"^\| \[{stage}\]\(.*?\) \| `(.*?)` \|",
                     (HERE / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert code is not None
    main = (HERE / "stages" / stage / "main.cc").read_text(encoding="utf-8")
    for call in filter(None, code[1].rstrip(";").split("; ")):
        assert re.search(re.escape(call).replace("…", ".*"), main, re.DOTALL), call


@pytest.mark.parametrize("stage", STAGES)
def test_a_page_has_the_headings_in_order(stage):
    wanted = [one for one in HEADINGS if one != "By hand" or stage in BY_HAND]
    assert list(sections(text_of(stage))) == wanted


@pytest.mark.parametrize("stage", STAGES)
def test_what_leaks_and_the_attack_are_shown_at_the_stage_before(stage):
    """The leak is run without this layer, and the attack both without it and with it."""
    found = sections(text_of(stage))
    before = STAGES[STAGES.index(stage) - 1] if stage != STAGES[0] else ""
    without = before or r"host:~[#$] (?!01_exec)\w+"
    if stage in ("03_userspace", "04_namespaces"):
        without = "02_chroot|03_userspace"
    leak = "".join(transcripts(found["What leaks without it"]))
    attack = "".join(transcripts(found["An attack"]))
    assert re.search(without, leak)
    assert re.search(without, attack) and stage in attack


@pytest.mark.parametrize("stage", STAGES)
def test_system_calls_are_a_table_with_man_pages(stage):
    """Every reference has its address at the end of the page, and is used."""
    text = text_of(stage)
    table = sections(text)["The system calls"]
    assert re.search(r"^\| \[\w+(?:\(\d\))?\].* \|", table, re.MULTILINE)
    addresses = set(re.findall(r"^\[([^]]+)\]: https://\S+$", text, re.MULTILINE))
    prose = re.sub(r"^ *```.*?^ *```$|`[^`\n]*`|^\[[^]]+\]: .*$", "", text,
                   flags=re.MULTILINE | re.DOTALL)
    used = set(re.findall(r"(?<!!)\[([^]]+)\](?!\()", prose))
    assert addresses == used


@pytest.mark.parametrize("stage", STAGES)
def test_properties_that_exercises_name_are_there(stage):
    names = set(re.findall(r"--property (\w+)", text_of(stage)))
    assert names <= set(BY_NAME)


@pytest.mark.parametrize("page", PAGES)
def test_every_transcript_of_a_stages_page_is_run(page):
    text = text_of(page)
    run = [block for block in living.blocks(f"stages/{page}/README.md", text.split("\n"))
           if block.kind == "console"]
    assert len(run) == len(transcripts(text)) >= (1 if page == MAP else 3)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text_of(page)):
        if target.endswith((".cc", ".h", ".svg", ".md")):  # the rest is not in the sandbox
            assert (HERE / "stages" / page / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_headings(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]+\.md)#([^)]+)\)", text_of(page)):
        text = (HERE / "stages" / page / target).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w-]", "", one.lower().replace(" ", "-")) for one in headings}
        assert anchor in anchors, f"{target}#{anchor}"


# --- The path -------------------------------------------------------------------------------------

def navigation(page: str) -> str:
    """The links before and after, as they have to be."""
    place = PAGES.index(page)
    before = (f"[← {title(PAGES[place - 1])}](../{PAGES[place - 1]}/README.md) · " if place else "")
    start = "[← Start here]" if not place else "[Start here]"
    after = (f"[{title(PAGES[place + 1])} →](../{PAGES[place + 1]}/README.md)"
             if page != PAGES[-1] else "[After the stages →](../../README.md#after-the-stages)")
    return (f"{before}{start}(../../README.md#start-here) · [Glossary](../../GLOSSARY.md) · "
            f"{after}")


def title(page: str) -> str:
    return {MAP: "00 the map", "08b_seccomp": "08b seccomp",
            "05_userns": "05 user namespace"}.get(page, page.replace("_", " ", 1))


@pytest.mark.parametrize("page", PAGES)
def test_the_page_leads_to_those_before_and_after(page):
    text = text_of(page)
    body = re.sub(r"^\[[^]]+\]: .*\n", "", text, flags=re.MULTILINE).rstrip()
    head = text.partition("\n## ")[0].partition("\n\n**Before")[0]
    assert head.endswith(f"\n\n{navigation(page)}")
    assert body.endswith(f"\n\n{navigation(page)}")


@pytest.mark.parametrize("page", PAGES)
def test_the_page_says_how_to_follow_it(page):
    head = text_of(page).partition("\n## ")[0]
    before, follow = re.search(r"^(\*\*Before this page\*\*: .*?)\n\n", head, re.M | re.S), \
        re.search(r"^(> \*\*Follow along\.\*\* .*?)(?:\n\n|\Z)", head, re.M | re.S)
    assert before and re.search(r"\*\*Time\*\*: \d+\s+min", before[1].replace("\n", " "))
    assert follow and all(line.startswith("> ") for line in follow[1].splitlines())
    assert "../../README.md#follow-along" in follow[1] and "bazel run //harness/vm" in follow[1]


@pytest.mark.parametrize("page", PAGES)
def test_the_time_is_the_one_that_the_readme_says(page):
    minutes = re.search(r"\*\*Time\*\*: (\d+)\s+min", text_of(page))[1]
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"\(stages/{page}/README\.md\).* \| {minutes} min \|", readme)


@pytest.mark.parametrize("stage", STAGES)
def test_the_idea_has_a_picture_of_the_deck(stage):
    found = sections(text_of(stage))
    pictures = re.findall(r"^!\[([^]]+)\]\(\.\./\.\./slides/(pictures/\w+\.svg)\)$",
                          found["The idea"], re.MULTILINE)
    deck = (HERE / "slides/deck.md").read_text(encoding="utf-8")
    assert pictures and all(alt and path in deck for alt, path in pictures)


@pytest.mark.parametrize("stage", BY_HAND)
def test_by_hand_is_a_run_without_the_stages(stage):
    (run,) = transcripts(sections(text_of(stage))["By hand"])
    assert not set(re.findall(r"\b\d\d[abc]?_\w+", run)) & set(STAGES)
    assert re.search(r"\b(unshare|ip netns|mkdir hand)\b", run)


@pytest.mark.parametrize("stage", STAGES)
def test_our_code_comes_after_the_task(stage):
    """Nothing of the stage's own code is on the page before "Write it yourself"."""
    text = text_of(stage)
    task = text.index("## Write it yourself")
    quoted = [one.start() for one in re.finditer(rf"<!-- snippet: stages/{stage}/\S+\.cc", text)]
    assert quoted and all(place > task for place in quoted)
    number = stage.split("_")[0]
    written = sections(text)["Write it yourself"]
    for wanted in (f"harness:start -- {number} ~/my", f"<!-- milestones: {number} -->\n1. "):
        assert wanted in written


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_to_read_is_short(stage):
    code = sections(text_of(stage))["The code"]
    count = re.search(r"\*\*Read these (\d+) lines\.\*\*", code)
    quoted = [line for block in re.findall(r"^```c(?:pp)?\n(.*?)^```$", code, re.M | re.S)
              for line in block.splitlines() if line.strip() and line.strip() != "…"]
    told = [line for line in quoted if not line.strip().startswith("//")]
    assert count and abs(int(count[1]) - len(told)) <= 4 and len(told) <= MOST_TO_READ
    assert "**The rest is what a real tool needs" in code


@pytest.mark.parametrize("stage", STAGES)
def test_exercises_have_folded_answers(stage):
    exercises = re.split(r"^\d\. ", sections(text_of(stage))["Exercises"], flags=re.MULTILINE)[1:]
    assert len(exercises) >= 3
    for exercise in exercises:
        question, opening, answer = exercise.partition("   <details><summary>Answer</summary>\n\n")
        assert opening and re.search(r"^   Check: ", question, re.MULTILINE), question
        text, closing, rest = answer.partition("   </details>\n")
        assert closing and len(text.split()) >= 15 and "<details>" not in rest


# --- The glossary ---------------------------------------------------------------------------------

def test_terms_are_defined_where_they_first_occur_and_linked_both_ways():
    assert not glossary.of_repository(HERE, STAGES)


GLOSSARY = "# Glossary\n\n### id map\n\nA table. First on\n[one](one.md).\n"


@pytest.mark.parametrize("page, complaint", [
    ("The [id map](../../GLOSSARY.md#id-map), and id maps.", ""),
    ("Id maps. The [id map](../../GLOSSARY.md#id-map).", 'one.md:1: "id map" is used before'),
    ("Nothing.", "id map: no page links to it"),
    ("`id map`, [id map](../../GLOSSARY.md#id-map)", ""),
    ("[id map](../../GLOSSARY.md#id-map) [a](../../GLOSSARY.md#b)", "the glossary has no b"),
])
def test_a_term_that_is_not_linked_is_told(page, complaint):
    told = glossary.complaints(GLOSSARY, {"one.md": page})
    assert complaint in "".join(told) and bool(told) == bool(complaint)


def test_a_term_that_an_earlier_page_uses_is_told():
    pages = {"zero.md": "An id map.", "one.md": "The [id map](../../GLOSSARY.md#id-map)"}
    assert glossary.complaints(GLOSSARY, pages) == [
        'zero.md:1: "id map" is used before it is linked to the glossary']


# --- The map --------------------------------------------------------------------------------------

NAIVE = (HERE / "stages" / MAP / "naive.c").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(?P<code>.+?)` \| (?P<wrong>.+?) \| (?P<better>.+?) \| (?P<rows>.*?) ?\|$",
                 re.MULTILINE)


def better() -> dict[str, str]:
    """The map's tables, by stage."""
    part = sections(text_of(MAP))["What each stage does better"]
    parts = re.split(r"^### (\w+).*\n", part, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def fragments() -> list[str]:
    return [row["code"].replace("\\|", "|") for text in better().values()
            for row in ROW.finditer(text)]


def test_the_naive_container_is_a_hundred_lines_at_most():
    assert len(NAIVE.splitlines()) <= 100


def test_the_map_has_a_table_for_each_stage_and_quotes_the_program():
    assert list(better()) == [stage.split("_")[0] for stage in MAPPED]
    for code in fragments():
        assert code in NAIVE, code


def test_the_map_goes_through_each_line_that_does_something():
    main = NAIVE[NAIVE.index("// Limits"):]
    does = re.compile(r"\b(mkdir|put|unshare|sethostname|fork|mount|chdir|umount2|prctl|execvp"
                      r"|perror|waitpid|WEXITSTATUS|CLONE_NEWNET|SYS_pivot_root|BPF_JUMP)\b")
    for line in main.splitlines():
        if does.search(line.partition("//")[0]):
            assert any(code in line for code in fragments()), line


def test_the_map_names_the_rows_that_the_program_loses():
    """What it does lose //harness/solutions:test finds out."""
    named = [row for text in better().values() for line in ROW.finditer(text)
             for row in re.findall(r"`(\w+)`", line["rows"])]
    assert sorted(named) == sorted(naive.LOSES)


def test_the_map_counts_them():
    counted = re.findall(r"^\| (\w+) .*? \| (\d+) \|$", sections(text_of(MAP))["How good is it?"],
                         re.MULTILINE)
    since = [BY_NAME[row].since for row in naive.LOSES]
    numbers = [stage.split("_")[0] for stage in MAPPED]
    assert counted == [(number, str(since.count(number))) for number in numbers]


# --- A copy in which something is missing ---------------------------------------------------------

@pytest.mark.parametrize("old, new, test", [
    ("[04 namespaces →]", "[04 →]", "test_the_page_leads_to_those_before_and_after"),
    ("   <details><summary>Answer</summary>\n", "", "test_exercises_have_folded_answers"),
    ("   Check: ", "   Try: ", "test_exercises_have_folded_answers"),
    ("> **Follow along.**", "> **Follow.**", "test_the_page_says_how_to_follow_it"),
    ("**Time**: 20", "**Time**: 21", "test_the_time_is_the_one_that_the_readme_says"),
    ("pictures/userspace.svg", "pictures/no.svg", "test_the_idea_has_a_picture_of_the_deck"),
    ("**The rest is", "**All is", "test_the_code_to_read_is_short"),
    ("## The idea\n", "## The idea\n\n<!-- snippet: stages/03_userspace/main.cc run -->\n",
     "test_our_code_comes_after_the_task"),
    ("README.md#follow-along", "README.md#follow-me", "test_links_lead_to_headings"),
])
def test_what_is_missing_on_a_page_is_noticed(old, new, test, tmp_path, monkeypatch):
    """On a copy of stage 03's page."""
    for name in ("README.md", "GLOSSARY.md", "stages", "slides/deck.md", "slides/pictures"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (shutil.copy if (HERE / name).is_file() else shutil.copytree)(HERE / name, tmp_path / name)
    page = tmp_path / "stages/03_userspace/README.md"
    text = page.read_text(encoding="utf-8")
    page.unlink()
    assert old in text
    page.write_text(text.replace(old, new), encoding="utf-8")
    monkeypatch.setitem(globals(), "HERE", tmp_path)
    with pytest.raises(AssertionError):
        globals()[test]("03_userspace")

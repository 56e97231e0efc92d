"""The editions of the deck: the same slides, each as new as the other, in words of its language."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from slides import deck, translation

HERE = pathlib.Path(".").resolve()
DECKS = translation.read(HERE)
WORDS = json.loads((HERE / "slides/words.ru.json").read_text(encoding="utf-8"))

SLIDE = """---
lang: {language}
---

<!-- track: 45 -->

## {title}

<!-- snippet: a.cc run -->
```cpp
{code}
```

{text}

| what | ms |
| --- | ---: |
| x | 1 |

*Measured {when} on this: `that`*

<!--
{note}
-->
"""


def edition(language: str, **changed: str) -> str:
    words = {"title": "Title", "code": "run();", "text": "Text.", "note": "1 min. Note.",
             "when": "today"}
    return SLIDE.format(language=language, **{**words, **changed})


def pair(**changed: str) -> dict[str, str]:
    """Two editions, of which the Russian one has `changed`."""
    return {"en": edition("en"), "ru": edition("ru", **{"note": "1 мин. Заметка.", **changed})}


def test_both_have_the_same_slides_code_transcripts_and_pictures_in_the_same_order():
    assert not translation.differences(DECKS)


def test_no_slide_has_changed_in_one_language_only():
    recorded = json.loads((HERE / translation.RECORDED).read_text(encoding="utf-8"))
    assert not translation.stale(DECKS, recorded), \
        "translate what is new, then: bazel run //slides:translated"


@pytest.mark.parametrize("changed, said", [
    ({}, ""),
    ({"text": "Слова.", "title": "Название"}, ""),
    ({"code": "stop();"}, "run();"),
    ({"note": "2 мин. Заметка."}, "2 min"),
    ({"text": "![Рисунок](pictures/a.svg)"}, "pictures/a.svg"),
    ({"text": "<!-- exercise: 90, 5 min, 05_userns -->"}, "exercise"),
])
def test_what_a_slide_is_made_of_has_to_be_the_same(changed, said):
    found = translation.differences(pair(**changed))
    assert len(found) == bool(said)
    assert not said or (said in found[0] and "slide 1, “Title”" in found[0])


def test_a_slide_too_many_is_told():
    both = pair()
    both["ru"] += "\n---" + both["ru"].split("---", 2)[2]
    assert "1 slides in slides/deck.md, 2 in" in translation.differences(both)[0]


@pytest.mark.parametrize("language", ["en", "ru"])
def test_a_slide_that_changed_in_one_language_is_told_with_its_name(language):
    recorded = translation.rows(pair())
    both = pair()
    assert translation.stale(both, recorded) == []
    both[language] = both[language].replace("Text.", "New text.")
    assert translation.stale(both, recorded) == [
        f"slides/deck.md: slide 1, “Title”: changed in {language} since both said the same"]


def test_what_is_quoted_makes_no_slide_newer():
    """living.py writes it into both editions."""
    recorded = translation.rows(pair())
    both = {language: text.replace("a.cc run", "a.cc stop")
            for language, text in pair(code="stop();", when="yesterday").items()}
    assert translation.stale(both, recorded) == []


def test_a_new_slide_is_told():
    assert translation.stale(pair(), []) == [
        "the slides are not those of slides/translated.json: new is “Title”"]


def texts_of_pictures():
    for path in sorted(HERE.glob("slides/pictures/*.svg")):
        for attributes, text in re.findall(r"<text([^>]*)>(.*?)</text>",
                                           path.read_text(encoding="utf-8"), re.DOTALL):
            yield path.name, "mono" in attributes, text


def texts_of_tables():
    for path in sorted(HERE.glob("slides/measured/*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if f"<!-- table: {path.stem}" in DECKS["ru"]:
            yield from data["columns"]
            yield from (str(row[0]) for row in data["rows"])


def test_every_word_of_a_picture_is_translated():
    """What is in the typewriter's letters is code, which is the same in all languages."""
    missing = {(picture, text) for picture, code, text in texts_of_pictures()
               if re.search(r"[A-Za-z]{2}", text) and not code and text not in WORDS}
    assert not missing


def test_there_is_no_word_that_nothing_shows():
    shown = {text for _, _, text in texts_of_pictures()} | set(texts_of_tables())
    assert [word for word in WORDS if word not in shown and not word.startswith("Measured ")] == []


def test_the_russian_edition_is_in_russian():
    for slide in deck.slides(DECKS["ru"]):
        prose = re.sub(r"`[^`]*`", "", slide.note)
        letters = re.findall(r"[^\W\d_]", prose)
        russian = re.findall(r"[а-яё]", prose, re.IGNORECASE)
        assert len(russian) > len(letters) / 2, slide.title

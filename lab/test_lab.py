"""The lab in a browser: what a person sees, types, resizes, resets, and each lesson's steps."""

import json
import os
import pathlib
import re
import time

import pytest

from lab import drive
from lab.drive import Lab, served

PAGE = pathlib.Path(os.environ["LAB_PAGE"]).resolve()
FOLDER = PAGE.parent / "html"
PICTURES = pathlib.Path(os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR", "/tmp")).resolve()
LARGEST = 25_000_000  # bytes
START = 3  # s on a machine that does nothing else
MOST_MEMORY = 700  # MB, of the tab
LESSONS = ("01", "02", "03", "04", "05", "06", "07", "08a", "08b", "08c")


@pytest.fixture(name="lab", params=("chromium", "firefox"))
def _lab(request):
    if drive.BROWSERS[request.param][1] is None:
        pytest.skip(f"there is no {request.param}: ./setup.sh --lab")
    with drive.lab(request.param) as lab:
        yield lab


@pytest.fixture(name="in_chromium")
def _in_chromium():
    with drive.lab() as lab:
        yield lab


def spare_cpu() -> float:
    """How much slower than alone something is here, about."""
    return max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


def memory_of_tab() -> int:
    """The largest one's, in MB."""
    largest = 0
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            command = (status.parent / "cmdline").read_bytes()
            if b"--type=renderer" in command or b"-contentproc" in command:
                resident = re.search(r"VmRSS:\s+(\d+)", status.read_text())
                largest = max(largest, int(resident[1]) // 1024 if resident else 0)
        except OSError:
            continue
    return largest


def test_the_one_file_asks_for_nothing_and_is_there_at_once(lab: Lab) -> None:
    assert PAGE.stat().st_size < LARGEST
    seconds = lab.open(PAGE.as_uri())
    lab.type("user", "id -u; echo typed\n")
    lab.wait_for("lab.text_of('user').includes('typed')")
    end = time.monotonic() + drive.PATIENCE  # until the browser has thrown away the packed state
    while (memory := memory_of_tab()) >= MOST_MEMORY and time.monotonic() < end:
        time.sleep(1)
    print(f"prompt after {seconds:.1f} s at load {os.getloadavg()[0]:.1f}, {memory} MB, "
          f"{PAGE.stat().st_size} bytes")
    assert "1000" in lab.text("user")
    assert seconds < START * spare_cpu()
    assert memory < MOST_MEMORY
    assert [address for address in lab.tab.asked if address.startswith("http")] == []
    assert lab.tab.errors == []


def test_the_folder_works_on_a_web_server(lab: Lab) -> None:
    with served(FOLDER) as address:
        lab.open(address)
        lab.type("root", "id -u; echo typed\n")
        lab.wait_for("lab.text_of('root').includes('typed')")
    assert {asked.rsplit("/", 1)[1] for asked in lab.tab.asked if asked.startswith(address)} <= {
        "", "lab.css", "lab.js", "v86.wasm", "state.zst", "favicon.ico"}


def test_the_machines_users_see_each_other(lab: Lab) -> None:
    lab.open(PAGE.as_uri())
    lab.type("user", "05_userns sleep 4321\n")
    time.sleep(1)
    lab.wait_for("(lab.send('root', 'pidof sleep >/dev/null && echo seen\\n'), "
                 "lab.text_of('root').includes('seen'))")


def test_a_terminal_has_the_size_of_its_window_and_is_pasted_into(lab: Lab) -> None:
    lab.open(PAGE.as_uri())
    lab.tab.resize(1100, 700)
    time.sleep(1)
    # A ClipboardEvent that a script has made has no data in Firefox.
    lab.tab.run("""(() => {
        const event = new Event("paste", { bubbles: true, cancelable: true });
        event.clipboardData = { getData: () => "stty size; echo pasted" };
        document.querySelector("#user textarea").dispatchEvent(event);
    })()""")
    lab.type("user", "\n")
    lab.wait_for("lab.text_of('user').includes('pasted')")
    size = lab.tab.run("[document.querySelector('#user .xterm-rows').children.length]")[0]
    line = next(line for line in lab.text("user") if re.fullmatch(r"\d+ \d+", line))
    assert int(line.split()[0]) == size


def test_it_can_be_reset_and_kept_across_a_reload(lab: Lab) -> None:
    with served(FOLDER) as address:
        lab.open(address)
        lab.type("user", "echo mine >mark; cat mark\n")
        lab.wait_for("lab.text_of('user').includes('mine')")
        lab.tab.run("document.getElementById('keep').click()")
        lab.tab.run("lab.send('user', ' '), lab.keep()")
        lab.open(address)
        assert "as you left it" in lab.status()
        lab.type("user", "\x15cat mark; echo again\n")
        lab.wait_for("lab.text_of('user').includes('again')")
        assert lab.text("user").count("mine") >= 2
        lab.tab.run("lab.reset()")
        lab.type("user", "cat mark\n")
        lab.wait_for("lab.text_of('user').some((line) => line.includes('No such file'))")


def test_it_says_what_it_needs_without_webassembly(in_chromium: Lab) -> None:
    lab = in_chromium
    lab.tab.call("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.WebAssembly")
    lab.tab.open((FOLDER / "index.html").as_uri())
    assert "no WebAssembly" in lab.status()


def test_it_can_be_read_on_a_phone(in_chromium: Lab) -> None:
    lab = in_chromium
    lab.tab.resize(390, 844, phone=True)
    lab.open(PAGE.as_uri())
    lab.tab.picture(PICTURES / "phone.png")
    assert lab.tab.run("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("identity", LESSONS)
def test_the_lesson_shows_what_happens(lab: Lab, identity: str) -> None:
    lab.open(PAGE.as_uri())
    lesson = lab.show(identity)
    steps = [step for part in lesson["parts"] for step in part.get("steps", [])]
    wrong = {}
    for step in steps:
        if not step.get("missing"):
            outcome = lab.perform(step["id"])
            if not outcome["same"]:
                wrong[step["id"]] = outcome
    lab.tab.picture(PICTURES / f"lesson-{identity}-{lab.name}.png")
    run = sum(not step.get("missing") for step in steps)
    assert lab.tab.run("document.getElementById('progress').textContent") == (
        f"{run} of {run} steps done")
    assert wrong == {}, json.dumps(wrong, indent=1, ensure_ascii=False)


@pytest.mark.parametrize("identity", LESSONS)
def test_the_exercise_is_done_when_its_answer_has_been_typed(lab: Lab, identity: str) -> None:
    lab.open(PAGE.as_uri())
    lesson = lab.show(identity)
    assert lab.check().endswith(".")
    for line in lesson["exercise"]["answer"]:
        prompt, _, command = line.partition(" ")
        lab.type_at(prompt, command)
    end = time.monotonic() + drive.PATIENCE
    while (said := lab.check()) != "✓ done":
        assert time.monotonic() < end, said
        time.sleep(1)
    assert lab.tab.run("document.getElementById('progress').textContent").endswith("exercise done")

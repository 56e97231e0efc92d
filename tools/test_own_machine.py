"""What can be checked of the files for other people's machines without these: that they are well
formed, name both architectures, and that OWN_MACHINE.md says what they are called."""

import json
import pathlib
import re

ROOT = pathlib.Path("OWN_MACHINE.md").resolve().parent
PAGE = (ROOT / "OWN_MACHINE.md").read_text(encoding="utf-8")
# Some of https://containers.dev/implementors/json_reference/
KEYS = {"name", "image", "privileged", "runArgs", "onCreateCommand", "postCreateCommand",
        "remoteUser"}
# Some of https://lima-vm.io/docs/reference/: those of the top level.
LIMA = {"minimumLimaVersion", "images", "cpus", "memory", "disk", "mounts", "containerd",
        "provision"}


def test_the_development_container_has_only_keys_that_there_are():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    assert set(container) <= KEYS
    assert container["privileged"] is True
    assert container["onCreateCommand"] == "./setup.sh"


def test_limas_machine_is_there_for_both_architectures():
    text = (ROOT / "lima.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"^(\w+):", text, re.M)) == LIMA
    images = dict(re.findall(r'location: "(\S+)"\n    arch: "(\w+)"', text))
    assert sorted(images.values()) == ["aarch64", "x86_64"]
    for address, architecture in images.items():
        assert {"aarch64": "arm64", "x86_64": "amd64"}[architecture] in address
    assert "\t" not in text


def test_the_page_names_what_there_is():
    for name in ("lima.yaml", ".devcontainer"):
        assert name in PAGE and (ROOT / name).exists()
    assert "lab/README.md" in PAGE

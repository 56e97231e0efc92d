"""Stage 08a: --image, as root and as an ordinary user."""

from __future__ import annotations

import gzip
import os
import pathlib
import shutil

import pytest
from conftest import give_to
from layers import STAGE, names_in, new_tar, oci, refused, write, write_layout, zstd

pytest_plugins = ["layers"]  # its fixtures

SHELL = pathlib.Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
PASSWD = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
BASE = new_tar(oci.entry("bin/busybox", SHELL, mode=0o755),
               *(oci.link(f"bin/{name}", "busybox") for name in ("sh", "cat", "echo", "id", "pwd")),
               oci.entry("etc/passwd", PASSWD), oci.entry("etc/group", b"staff:x:50:\n"),
               oci.entry("data/one", b"one\n"), oci.folder("work"))
PRINT = {"Cmd": ["sh", "-c", "echo $GREETING; pwd; cat /data/*"], "Env": ["GREETING=hello"],
         "WorkingDir": "/work"}


@pytest.fixture
def image(caller, folder, cache):
    """Writes an image of BASE and more."""
    def make(config=None, *more: bytes, pack=lambda layer: layer, **how) -> pathlib.Path:
        layers = [pack(layer) for layer in (BASE, *more)]
        return write_layout(caller, folder / "image", oci.layout(layers, config or {}, **how))
    return make


@pytest.mark.parametrize("pack", [lambda layer: layer, gzip.compress, zstd],
                         ids=["tar", "gzip", "zstd"])
def test_an_image_runs_as_it_says(caller, image, pack):
    path = image(PRINT, oci.tar(oci.entry("data/.wh.one"), oci.entry("data/two", b"two\n")),
                 pack=pack)
    assert caller.output(STAGE, "--image", path) == "hello\n/work\ntwo"
    assert caller.output(STAGE, "--image", f"{path}:latest") == "hello\n/work\ntwo"
    words = ["-e", "GREETING=good day", "-w", "/", "sh", "-c", "echo $GREETING; pwd"]
    assert caller.output(STAGE, "--image", path, *words) == "good day\n/"


@pytest.mark.parametrize("config, words, shown", [
    ({"Entrypoint": ["echo", "a"], "Cmd": ["b"]}, [], "a b"),
    ({"Entrypoint": ["echo", "a"], "Cmd": ["b"]}, ["c", "d"], "a c d"),
    ({"Entrypoint": ["echo", "a"], "Cmd": None}, [], "a"),
    ({"Entrypoint": None, "Cmd": ["echo", "b"], "Env": None}, [], "b"),
    ({"Cmd": ["echo", "b"]}, ["echo", "c"], "c"),
])
def test_entrypoint_and_cmd(caller, image, config, words, shown):
    assert caller.output(STAGE, "--image", image(config), *words) == shown


def test_without_any_command(caller, image):
    refused(caller.run(STAGE, "--image", image()), "no COMMAND given")


USERS = ["--uid-map", "0:0:2000", "--gid-map", "0:0:2000"]


@pytest.mark.parametrize("who, shown", [
    ("", "0 0 /root"), ("app", "1000 1001 /home/app"), ("1000", "1000 1001 /home/app"),
    ("1000:7", "1000 7 /home/app"), ("app:staff", "1000 50 /home/app"), ("77", "77 0 /root"),
    ("root", "0 0 /root"), (":50", "0 50 /root"), (":staff", "0 50 /root"),
])
def test_the_images_user(root, folder_of_root, who, shown):
    path = write_layout(root, folder_of_root / "image", oci.layout([BASE], {"User": who}))
    script = "echo $(id -u) $(id -g) $HOME"
    assert root.output(STAGE, *USERS, "--image", path, "sh", "-c", script) == shown
    words = ["-u", "3:4", "--image", path, "sh", "-c", script]
    assert root.output(STAGE, *USERS, *words) == "3 4 /"


@pytest.mark.parametrize("who, passwd, message, hint", [
    ("nobody-here", PASSWD, "the image's user nobody-here is not in its /etc/passwd", "-u UID"),
    ("app:nogroup", PASSWD, "the image's group nogroup is not in its /etc/group", "-u UID"),
    ("70000", PASSWD, "the image's user 70000: uid 70000 is not mapped", "--uid-map"),
    ("x", b"x:x:4294967295:0::/:\n", "the image's user x is not in its /etc/passwd", "-u UID"),
    ("x", b"x\n:::\n\nx:y:z\n", "the image's user x is not in its /etc/passwd", "-u UID"),
    ("-1", PASSWD, "the image's user -1 is not in its /etc/passwd", "-u UID"),
])
def test_a_user_that_there_is_not(caller, image, who, passwd, message, hint):
    path = image({"User": who}, oci.tar(oci.entry("etc/passwd", passwd)))
    refused(caller.run(STAGE, "--image", path, "id"), message, hint)
    assert caller.output(STAGE, "--image", path, "-u", "0", "id", "-u") == "0"


@pytest.mark.parametrize("entries, message", [
    ([oci.entry("etc/passwd", type=oci.tarfile.FIFOTYPE)], "is not a regular file"),
    ([oci.link("etc/passwd", "/dev/zero")], "is not a regular file"),
    ([oci.link("etc/passwd", "passwd")], "Too many levels of symbolic links"),
])
def test_a_hostile_passwd(caller, image, entries, message):
    path = image({"User": "app"}, oci.tar(*entries))
    refused(caller.run(STAGE, "--image", path, "id"), message)


def test_a_passwd_that_is_a_link_does_not_lead_out(caller, folder, image):
    """The host's file, which is there, is not what the link means in the container."""
    write(caller, folder / "passwd", b"app:x:0:0::/stolen:/bin/sh\n")
    folder.chmod(0o755)
    path = image({"User": "app"}, oci.tar(oci.link("etc/passwd", str(folder / "passwd"))))
    refused(caller.run(STAGE, "--image", path, "sh", "-c", "echo $HOME"), "is not in its")


def test_layers_and_image(caller, folder, image, tree):
    layer = write(caller, folder / "more" / "data" / "two", b"two\n").parents[1]
    give_to(caller, folder)
    path = image(PRINT)
    assert caller.output(STAGE, "--image", path, "--layer", layer) == "hello\n/work\none\ntwo"
    for option in (["--rootfs", tree], ["--userspace", "minimal"], ["--with", "cat"]):
        refused(caller.run(STAGE, "--image", path, *option, "true"),
                "--image provides the root itself", "leave out either --image or --rootfs,"
                                                    " --userspace and --with")


def test_images_share_layers_and_need_them_only_once(caller, folder, cache, image):
    before = names_in(cache)
    first = image(PRINT)
    second = write_layout(caller, folder / "other", oci.layout(
        [BASE, LAYER, BASE], PRINT, tags=("a", "b")))
    assert caller.output(STAGE, "--image", first) == "hello\n/work\none"
    assert caller.output(STAGE, "--image", f"{second}:b") == "hello\n/work\none\ntwo"
    assert len(names_in(cache) - before) == 2
    # A second start does not read them, however large: these have become unreadable nonsense.
    for blob in (folder / "other" / "blobs" / "sha256").iterdir():
        if blob.stat().st_size > 1000:
            blob.write_bytes(b"nonsense")
    assert caller.output(STAGE, "--image", f"{second}:b") == "hello\n/work\none\ntwo"


def test_an_index_of_architectures(caller, folder, cache):
    here = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    files: dict[str, bytes] = {}
    manifests = []
    for architecture in ("other", here):
        one = oci.layout([BASE], {"Cmd": ["echo", architecture]}, architecture=architecture)
        files.update(one)
        described = oci.json.loads(one["index.json"])["manifests"][0]
        manifests.append({**described, "annotations": {},
                          "platform": {"os": "linux", "architecture": architecture}})
    nested = oci.json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    files[f"blobs/sha256/{oci.sha256(nested)}"] = nested
    files["index.json"] = oci.json.dumps({
        "schemaVersion": 2, "manifests": [oci.descriptor(oci.INDEX, nested)]}).encode()
    path = write_layout(caller, folder / "image", files)
    assert caller.output(STAGE, "--image", path) == here


def change_blob(files: dict[str, bytes], old: bytes, new: bytes) -> dict[str, bytes]:
    name = f"blobs/sha256/{oci.sha256(old)}"
    return {**files, name: new}


def change_index(files: dict[str, bytes], old: str, new: str) -> dict[str, bytes]:
    text = files["index.json"].decode()
    assert old in text
    return {**files, "index.json": text.replace(old, new).encode()}


LAYER = new_tar(oci.entry("data/two", b"two\n"))
GOOD = oci.layout([BASE, LAYER], PRINT)
DIGEST = oci.json.loads(GOOD["index.json"])["manifests"][0]["digest"]
MANIFEST = GOOD[f"blobs/sha256/{DIGEST[7:]}"]
BAD_IMAGES = {
    "tampered layer": (change_blob(GOOD, LAYER, LAYER.replace(b"two\n", b"2wo\n")),
                       "its content has another digest", "copy the image"),
    "truncated layer": (change_blob(GOOD, LAYER, LAYER[:1024]), "has 1024 bytes, not", "copy"),
    "longer layer": (change_blob(GOOD, LAYER, LAYER + b"\0" * 512), "bytes, not", "copy"),
    "no layer": ({name: content for name, content in GOOD.items() if content != LAYER},
                 "No such file or directory", ""),
    "tampered manifest": (change_blob(GOOD, MANIFEST, MANIFEST + b" "),
                          "its content has another digest", "copy"),
    "manifest is not JSON": (oci.layout([BASE], PRINT) | {
        "index.json": oci.json.dumps({"manifests": [oci.descriptor(oci.MANIFEST, BASE)]}).encode(),
    }, "is not a JSON object", ""),
    "no manifest": ({name: content for name, content in GOOD.items() if content != MANIFEST},
                    "No such file or directory", ""),
    "digest that climbs": (change_index(GOOD, DIGEST, "sha256:../../../../../etc/passwd"),
                           r'names a blob by "sha256:\.\./.*not a SHA-256 digest', ""),
    "digest with a line feed": (change_index(GOOD, DIGEST, r"sha256:a\nb"),
                                r'names a blob by "sha256:a\\nb"', ""),
    "digest of another kind": (change_index(GOOD, DIGEST, "sha512:" + "0" * 128),
                               "is not a SHA-256 digest", ""),
    "no digest": (change_index(GOOD, '"digest"', '"diggest"'), 'by "", which is not a', ""),
    "digest is a number": (change_index(GOOD, f'"{DIGEST}"', "7"),
                           "does not follow the OCI image specification", ""),
    "no images": ({**GOOD, "index.json": b'{"manifests": []}'}, "has no image", ""),
    "index is a list": ({**GOOD, "index.json": b"[]"}, "index.json: is not a JSON object", ""),
    "index is cut off": ({**GOOD, "index.json": b'{"manifests": [{'}, "is not a JSON object", ""),
    "index is huge": ({**GOOD, "index.json": b"[" * 5_000_000}, "has more than", ""),
    "index is deep": ({**GOOD, "index.json": b"[" * 1_000_000}, "more than 64 levels", ""),
    "volumes without number": (
        oci.layout([BASE], {**PRINT, "Volumes": {f"/v/{number}": {} for number in range(1001)}}),
        "the image has 1001 volumes, more than 1000", ""),
    "layers without number": (oci.layout([BASE] * 501, PRINT),
                              "the image has 501 layers, but overlayfs accepts at most 500", ""),
    "no index": ({"oci-layout": GOOD["oci-layout"]}, "index.json: No such file", ""),
    "no marker": ({"index.json": b"{}"}, "is not an OCI image layout", "skopeo copy"),
    "another version": ({**GOOD, "oci-layout": b'{"imageLayoutVersion": "9.0"}'},
                        "its version is not 1", ""),
    "two images": (oci.layout([BASE], PRINT, tags=("a", "b")), "several images", '"a, b"'),
    "no layers": (oci.layout([], PRINT), "the image has no layers", ""),
    "Cmd is text": (oci.layout([BASE], {"Cmd": "sh"}),
                    "does not follow the OCI image specification", ""),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_refused(caller, folder, cache, name):
    files, message, hint = BAD_IMAGES[name]
    path = write_layout(caller, folder / "image", files)
    result = caller.run(STAGE, "--image", path)
    refused(result, message, hint)
    assert result.stdout == ""
    assert not [name for name in names_in(cache) if name.endswith(".partial")]
    assert f"sha256-{oci.sha256(LAYER)}" not in names_in(cache)


def test_an_image_may_have_as_many_layers_as_overlayfs_accepts(caller, folder, cache):
    path = write_layout(caller, folder / "image", oci.layout([BASE] * 500, PRINT))
    assert caller.run(STAGE, "--image", path).returncode == 0


def test_a_wrong_reference_is_refused(caller, image):
    path = image(PRINT)
    refused(caller.run(STAGE, "--image", f"{path}:absent"), "has no image called absent", "latest")
    refused(caller.run(STAGE, "--image", "/no/such"), "--image /no/such: No such file or directory")
    refused(caller.run(STAGE, "--image", "/etc/passwd"), "Unrecognized archive format")
    refused(caller.run(STAGE, "--image", "/etc"), "is not an OCI image layout", "skopeo copy")


def test_a_blob_that_is_a_link_or_a_fifo_is_refused(caller, folder, image):
    path = image(PRINT)
    blob = path / "blobs" / "sha256" / oci.sha256(BASE)
    blob.rename(folder / "elsewhere")
    blob.symlink_to(folder / "elsewhere")
    refused(caller.run(STAGE, "--image", path), "is a symbolic link, or its path contains one",
            "cp -rL DIR OTHER")
    blob.unlink()
    os.mkfifo(blob)
    give_to(caller, path)
    refused(caller.run(STAGE, "--image", path), "is not a regular file")


# --- As other tools name and pack images ----------------------------------------------------------

HERE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def index_of(caller, path: pathlib.Path, *entries: tuple[dict, str, str]) -> pathlib.Path:
    """An image for each entry: its platform, its tag and what it prints."""
    files: dict[str, bytes] = {}
    manifests = []
    for platform, tag, text in entries:
        one = oci.layout([BASE], {"Cmd": ["echo", text]})
        files.update(one)
        described = oci.json.loads(one["index.json"])["manifests"][0]
        annotations = {"org.opencontainers.image.ref.name": tag} if tag else {}
        manifests.append({**described, "platform": platform, "annotations": annotations})
    files["index.json"] = oci.json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    return write_layout(caller, path, files)


def on(system: str, architecture: str = HERE, **more: str) -> dict:
    return {"os": system, "architecture": architecture, **more}


@pytest.mark.parametrize("entries, shown", [
    ([(on("windows"), "t", "no"), (on("linux"), "t", "yes")], "yes"),
    ([(on("linux"), "t", "yes"), (on("windows"), "t", "no")], "yes"),
    ([(on("linux"), "", "yes"), (on("linux"), "", "no")], "yes"),  # the first one that fits
    ([(on("linux", variant="v3"), "t", "no"), (on("linux", variant="v1"), "t", "yes")], "yes"),
    ([(on("linux", variant="v3"), "t", "no"), (on("linux"), "t", "yes")], "yes"),
    ([(on("unknown", "unknown"), "", "no"), (on("linux"), "t", "yes")], "yes"),
    ([({}, "t", "yes")], "yes"),
    ([(on("linux", "other"), "t", "yes")], "yes"),  # qemu-user(1) may run it
])
def test_the_first_image_for_this_machine_is_chosen(caller, folder, cache, entries, shown):
    path = index_of(caller, folder / "image", *entries)
    assert caller.output(STAGE, "--image", path) == shown


@pytest.mark.parametrize("entries", [
    [(on("windows"), "t", "no")],
    [(on("windows"), "t", "no"), (on("linux", "other"), "t", "no")],
])
def test_an_image_for_others_is_refused(caller, folder, cache, entries):
    path = index_of(caller, folder / "image", *entries)
    refused(caller.run(STAGE, "--image", path), f"has no image for linux/{HERE}", "it has")


def test_a_layer_that_is_a_fifo_is_refused_at_once(caller, folder):
    os.mkfifo(folder / "fifo")
    give_to(caller, folder / "fifo")
    result = caller.run(STAGE, "--layer", folder / "fifo", "true")
    assert (result.returncode, result.stderr) == (
        125, f"{STAGE}: {folder}/fifo: is neither a directory nor a file\n")


@pytest.mark.parametrize("config, words, shown", [
    ({"Entrypoint": ["echo", "a"], "Cmd": ["b"]}, ["--entrypoint", "pwd"], "/"),
    ({"Entrypoint": ["echo", "a"], "Cmd": ["b"]}, ["--entrypoint", "echo", "--", "c"], "c"),
    ({"Entrypoint": ["echo", "a"], "Cmd": ["b"]}, ["--entrypoint", "", "echo", "d"], "d"),
    ({"Entrypoint": [""], "Cmd": ["echo", "b"]}, [], "b"),
    ({"Entrypoint": [""], "Cmd": ["echo", "b"]}, ["echo", "c"], "c"),
])
def test_another_entrypoint(caller, image, config, words, shown):
    option, rest = (words[:2], words[2:]) if "--entrypoint" in words else ([], words)
    assert caller.output(STAGE, *option, "--image", image(config), *rest) == shown


def test_an_entrypoint_without_an_image(caller, tree):
    assert caller.output(STAGE, "--rootfs", tree, "--entrypoint", "cat", "/data/one") == (
        "one below")


def test_names_as_skopeo_has_them(caller, folder, image):
    path = image(PRINT)
    for reference in (f"oci:{path}", f"oci:{path}:latest"):
        assert caller.output(STAGE, "--image", reference) == "hello\n/work\none"
    odd = folder / "with:colon"
    path.rename(odd)
    for reference in (odd, f"{odd}:latest"):
        assert caller.output(STAGE, "--image", reference) == "hello\n/work\none"
    refused(caller.run(STAGE, "--image", "docker://busybox"), "is not a directory here",
            "skopeo copy docker://busybox oci:DIR:TAG")


def docker_archive(config: dict, *layers: bytes, tags: list[str]) -> bytes:
    """As docker save writes it: the second of two equal layers is a link to the first."""
    text = oci.json.dumps({"config": config, "rootfs": {
        "diff_ids": [f"sha256:{oci.sha256(layer)}" for layer in layers]}}).encode()
    name = f"{oci.sha256(text)}.json"
    entries = [oci.entry(name, text)]
    for number, layer in enumerate(layers):
        first = layers.index(layer)
        entries.append(oci.entry(f"{number}/layer.tar", layer) if first == number else
                       oci.link(f"{number}/layer.tar", f"../{first}/layer.tar"))
    manifest = [{"Config": name, "RepoTags": tags,
                 "Layers": [f"{number}/layer.tar" for number in range(len(layers))]}]
    return oci.tar(*entries, oci.entry("manifest.json", oci.json.dumps(manifest).encode()))


@pytest.mark.parametrize("prefix", ["", "docker-archive:"])
def test_a_docker_archive(caller, folder, cache, prefix):
    path = write(caller, folder / "saved.tar", docker_archive(
        PRINT, BASE, LAYER, BASE, tags=["busybox:one", "docker.io/library/other:two"]))
    for tag in ("", ":one", ":busybox:one", ":other:two"):
        assert caller.output(STAGE, "--image", f"{prefix}{path}{tag}") == "hello\n/work\none\ntwo"
    refused(caller.run(STAGE, "--image", f"{prefix}{path}:three"), "has no image called three",
            "busybox:one, docker.io/library/other:two")


@pytest.mark.parametrize("prefix", ["", "oci-archive:"])
def test_an_archive_of_a_layout(caller, folder, cache, prefix):
    files = oci.layout([BASE, LAYER], PRINT)
    path = write(caller, folder / "image.tar", oci.tar(*(
        oci.entry(name, content) for name, content in files.items())))
    for tag in ("", ":latest"):
        assert caller.output(STAGE, "--image", f"{prefix}{path}{tag}") == "hello\n/work\none\ntwo"


@pytest.mark.parametrize("change, message", [
    (lambda m: [{**m[0], "Config": "../../../../etc/passwd"}], "No such file|is not a JSON object"),
    (lambda m: [{**m[0], "Config": "link"}], "No such file|is not a JSON object"),
    (lambda m: [{**m[0], "Layers": ["link"]}], "No such file|another digest|Unrecognized"),
    (lambda m: [{**m[0], "Layers": []}], "has 0 layers, but digests for 1"),
    (lambda m: [m[0], m[0]], "has several images"),
    (lambda m: [], "has no image"),
    (lambda m: "text", "is not a JSON object"),
    (lambda m: [7], "No such file or directory"),
])
def test_a_hostile_archive(caller, folder, cache, change, message):
    config = oci.json.dumps({"config": PRINT, "rootfs": {
        "diff_ids": [f"sha256:{oci.sha256(BASE)}"]}}).encode()
    manifest = [{"Config": "config.json", "RepoTags": ["a:b"], "Layers": ["layer.tar"]}]
    path = write(caller, folder / "saved.tar", oci.tar(
        oci.entry("config.json", config), oci.entry("layer.tar", BASE),
        oci.link("link", "/etc/passwd"),
        oci.entry("manifest.json", oci.json.dumps(change(manifest)).encode())))
    refused(caller.run(STAGE, "--image", path), message)


def test_the_folders_that_an_image_expects_are_there(caller, image):
    path = image({"Cmd": ["sh", "-c", "for i in /var/lib/app/data /data; do cd $i && pwd; done"],
                  "Volumes": {"/var/lib/app/data": {}, "/data": {}, "../../escape": {}}})
    assert caller.output(STAGE, "--image", path) == "/var/lib/app/data\n/data"


def test_a_signal_that_is_not_used_is_told(caller, image):
    path = image({"Cmd": ["echo", "ran"], "StopSignal": "SIGQUIT"})
    result = caller.run(STAGE, "--image", path)
    assert (result.returncode, result.stdout) == (0, "ran\n")
    assert result.stderr == (f"{STAGE}: the image asks to be stopped with SIGQUIT; send that"
                             " signal yourself\n")


def test_the_groups_of_the_images_user(root, folder_of_root):
    group = oci.tar(oci.entry("etc/group", b"staff:x:50:app\naudio:x:29:x,app\nfar:x:99999:app\n"
                                           b"none:x:7:apple\n"))
    path = write_layout(root, folder_of_root / "image", oci.layout([BASE, group], {"User": "app"}))
    assert root.output(STAGE, *USERS, "--image", path, "id", "-G") == "1001 29 50"
    # Not if the image names the group, and never those of the caller.
    path = write_layout(root, folder_of_root / "other", oci.layout(
        [BASE, group], {"User": "app:50"}))
    assert root.output(STAGE, *USERS, "--image", path, "id", "-G") == "50"


def test_the_built_in_root_is_pristine(caller):
    """This stage's root does not contain what a container of an earlier stage has written to its
    own."""
    assert caller.output(STAGE, "echo", "x") == "x"
    inside, = caller.cache.glob("layers/rootfs-*")
    assert not list(caller.cache.glob("rootfs-*")) or caller.cache / inside.name != inside
    assert inside.parent.stat().st_mode & 0o777 == 0o700

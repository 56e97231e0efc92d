"""Stage 08a: layers, of which only the uppermost is ever written to."""

from __future__ import annotations

from typing import Callable, Dict, List

from harness import oci_layout as oci
from harness.agent_client import Json
from harness.properties.look import Ask, Look, never_ran, tell_run
from harness.properties.model import Control, Positive, Property
from harness.properties.observing import nothing_is_outside, text_is
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import NotStarted, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="rootfs_is_not_changed", since="08a", scene=changes,
            observe=lower_is_unchanged,
            holds="the files of --rootfs are as before, whatever the container did to them",
            violated="the container changed the files themselves",
            lesson="overlayfs copies a file up before the first write: below, nothing is ever"
                   " written.",
            man="8 mount", mistake="The root is the directory itself, without a layer on top of"
                                   " it.",
            command="{stage} --rootfs {root} -- /bin/rm /bin/sh; ls {root}/bin"),
        Property(
            name="changes_are_seen_inside", since="08a", scene=changes,
            observe=changes_are_seen, control=Control.OTHER_SCENE,
            control_scene=changes_refused,
            holds="files can be written, removed, renamed; a directory removed and made again",
            violated="one of these is refused, or has no effect",
            lesson="The upper layer records what is hidden: a removed file as a device 0:0, and a"
                   " hidden directory by an extended attribute that a user namespace may set.",
            man="8 mount", mistake="overlayfs was mounted in a user namespace without userxattr.",
            command="{stage} --rootfs {root} -- /bin/sh -c 'rm -r /etc && mkdir /etc'"),
        Property(
            name="next_container_starts_afresh", since="08a", scene=one_after_the_other,
            observe=second_starts_afresh,
            needs=("rootfs_is_not_changed",),
            holds="the next container does not find what the first one has written",
            violated="it finds it",
            lesson="A container whose changes are thrown away is the same at each start.",
            man="5 tmpfs", mistake="The upper layer is kept, or there is none.",
            command="{stage} --rootfs {root} -- /bin/touch /x; {stage} --rootfs {root} -- /bin/ls"
                    " /"),
        Property(
            name="writes_are_not_shared", since="08a", scene=two_at_once,
            observe=second_starts_afresh,
            needs=("rootfs_is_not_changed",),
            holds="a second container does not see what the first one writes",
            violated="it sees it",
            lesson="All containers share the lower layers; the upper layer belongs to one"
                   " container.",
            man="8 mount", mistake="Both have the same upper layer, or none.",
            command="{stage} --rootfs {root} -- /bin/sh -c 'touch /x; sleep 9' & {stage} --rootfs"
                    " {root} -- /bin/ls /"),
        Property(
            name="kept_layer_is_found_again", since="08a", scene=one_after_the_other_kept,
            observe=second_goes_on, control=Control.OTHER_SCENE,
            control_scene=one_after_the_other,
            holds="with the same --keep, the second container finds what the first has written",
            violated="it does not",
            lesson="An upper layer is a directory like any other: to be kept, it has to be on a"
                   " disk.",
            man="8 mount", mistake="--keep is ignored.",
            command="{stage} --rootfs {root} --keep /tmp/kept -- /bin/touch /x; ls /tmp/kept"),
        Property(
            name="kept_layer_has_one_user", since="08a", scene=two_at_once_kept,
            observe=second_is_refused, control=Control.OTHER_SCENE, control_scene=two_at_once,
            earned_by=Positive(one_after_the_other_kept, second_goes_on),
            holds="a second container with the same --keep gets 125", violated="it runs",
            lesson="If two overlays share an upper layer, the result is undefined, says the"
                   " kernel's documentation.",
            man="2 flock", mistake="The directory is not locked.",
            command="{stage} --keep /tmp/kept -- /bin/sleep 9 & {stage} --keep /tmp/kept --"
                    " /bin/true"),
        Property(
            name="later_layer_lies_above", since="08a", scene=layers,
            observe=later_layer_is_above, control=Control.OTHER_SCENE,
            control_scene=layers_swapped,
            holds="of two layers with the same file, the one that was named last is seen",
            violated="the other one is",
            lesson="overlayfs's lowerdir lists the uppermost layer first; images, and users, list"
                   " the lowest first.",
            man="8 mount", mistake="The layers are stacked in the wrong order.",
            command="{stage} --rootfs {root} --layer /tmp/low --layer /tmp/high -- /bin/ls /"),
        Property(
            name="whiteout_hides_a_file", since="08a", scene=whiteouts,
            observe=whiteout_hides, control=Control.OTHER_SCENE, control_scene=no_whiteouts,
            holds="a layer's .wh.NAME hides NAME of the layers below", violated="NAME is there",
            lesson="A layer can only add files: it has to mark what it removes, and tar and"
                   " overlayfs mark it differently.",
            man="8 mount", mistake=".wh. files were unpacked as they are.",
            command="touch .wh.link; tar cf x.tar .wh.link; {stage} --rootfs {root} --layer x.tar"
                    " -- /bin/ls /"),
        Property(
            name="opaque_folder_hides_all_below", since="08a", scene=whiteouts,
            observe=opaque_hides, control=Control.OTHER_SCENE, control_scene=no_whiteouts,
            holds="in a directory with .wh..wh..opq, nothing of the layers below is seen",
            violated="it is seen",
            lesson="Directories of several layers are merged, unless one is marked as opaque.",
            man="8 mount", mistake=".wh..wh..opq did not become an attribute that overlayfs reads.",
            command="mkdir bin; touch bin/.wh..wh..opq; tar cf x.tar bin; {stage} --rootfs {root}"
                    " --layer x.tar -- /probe 1 list=/bin"),
        Property(
            name="hostile_layer_stays_inside", since="08a", scene=hostile_layer,
            observe=layer_stays_inside, control=Control.NONE,
            seen_failing="stage 08a with open_how.resolve = 0 in unpack.cc",
            earned_by=Positive(no_whiteouts, layer_is_there),
            holds="a link in a tar does not lead a later entry out of the layer",
            violated="a file of the host is written",
            lesson="A tar is like a program: first a link, then a file written through the link."
                   " Unpacked as root, it may write any file of the host.",
            man="2 openat2", mistake="Names in the tar were looked up from the host's root.",
            command="{stage} --rootfs {root} --layer hostile.tar -- /bin/true"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

# What the probe does to a directory of the root, and therefore what it contains before.
CHANGES = {
    "written": "write=/lower/written", "removed": "remove=/lower/removed",
    "renamed": "rename=/lower/renamed,/lower/new", "closed": "close=/lower/closed",
    "folder/file": "replace_folder=/lower/folder,/lower/folder/file",
}


def make_lower(stage: Stage) -> None:
    entries: List[Json] = [{"kind": "directory", "path": f"{stage.root}/{name}", "mode": 0o755}
                           for name in ("lower", "lower/folder")]
    entries += [{"path": f"{stage.root}/lower/{name}", "text": f"{name}-{stage.nonce}\n" + "x" * 40,
                 "mode": 0o644} for name in CHANGES]
    stage.agent.make([{**entry, **stage.owner} for entry in entries])


def look_at_lower(stage: Stage) -> Json:
    """What the host has in that directory: texts, modes, owners."""
    paths = [f"{stage.root}/lower/{name}" for name in [*CHANGES, "new", "folder"]]
    texts, places = stage.agent.read(*paths), stage.agent.stat(*paths)
    return {path: [texts[path].get("text"), *(places[path].get(key) for key in (
        "errno", "mode", "uid", "gid", "ino"))] for path in paths}


def changes_with(stage: Stage, *options: str) -> Look:
    look = look_of(stage)
    make_lower(stage)
    look.facts["before"] = look_at_lower(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe(
        "hello", *CHANGES.values(), "read=/lower/written", "read=/lower/new", "list=/lower",
        "list=/lower/folder"), *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.facts["after"] = look_at_lower(stage)
    return look


def changes(stage: Stage) -> Look:
    """The probe writes, removes, renames and closes files of the root."""
    return changes_with(stage)


def changes_refused(stage: Stage) -> Look:
    """The same, but the root is read-only."""
    return changes_with(stage, "--read-only")


def twice(stage: Stage, *options: str) -> Look:
    """One container writes a file, and the next one looks for it."""
    look = look_of(stage)
    stage.watch()
    look.runs["first"] = stage.run(stage.probe("hello", f"write=/left-{stage.nonce}"), *options)
    look.facts["first"] = stage.answers(look.runs["first"]["stdout"])
    look.runs["second"] = stage.run(stage.probe("hello", f"read=/left-{stage.nonce}"), *options)
    look.facts["second"] = stage.answers(look.runs["second"]["stdout"])
    return look


def one_after_the_other(stage: Stage) -> Look:
    return twice(stage)


# Names that begin with "new" are not watched: a file that is meant to be there is not a leak.
def keep(stage: Stage) -> List[str]:
    path = f"{stage.folder}/new-kept"
    stage.agent.make([{"kind": "directory", "path": path, "mode": 0o755, **stage.owner}])
    return ["--keep", path]


def one_after_the_other_kept(stage: Stage) -> Look:
    """The same, with --keep."""
    return twice(stage, *keep(stage))


def at_once(stage: Stage, *options: str) -> Look:
    """While one container runs, which has written a file, a second one looks for it."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", f"write=/left-{stage.nonce}", "hold=1"), *options)
    if stage.wait_for_hold(look, run, "first"):
        look.runs["second"] = stage.run(stage.probe("hello", f"read=/left-{stage.nonce}"), *options)
        look.facts["second"] = stage.answers(look.runs["second"]["stdout"])
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "first")
        look.facts["first"] = look.answers
    return look


def two_at_once(stage: Stage) -> Look:
    return at_once(stage)


def two_at_once_kept(stage: Stage) -> Look:
    """Both with the same --keep."""
    return at_once(stage, *keep(stage))


def layers_in(stage: Stage, *names: str) -> Look:
    look = look_of(stage)
    for name in ("low", "high"):
        path = f"{stage.folder}/new-{name}"
        stage.agent.make([{"kind": "directory", "path": path, "mode": 0o755, **stage.owner},
                          {"path": f"{path}/common", "text": f"{name}-{stage.nonce}",
                           "mode": 0o644, **stage.owner}])
    stage.watch()
    options = [word for name in names for word in ("--layer", f"{stage.folder}/new-{name}")]
    look.runs["run"] = stage.run(stage.probe("hello", "read=/common"), *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def layers(stage: Stage) -> Look:
    """Two layers with a file of the same name."""
    return layers_in(stage, "low", "high")


def layers_swapped(stage: Stage) -> Look:
    return layers_in(stage, "high", "low")


def with_tar(stage: Stage, content: bytes) -> List[str]:
    """The options that add a tar file as a layer on the root. Its bytes have to be ASCII."""
    path = f"{stage.folder}/new-layer.tar"
    stage.agent.make([{"path": path, "text": content.decode("ascii"), "mode": 0o644,
                       **stage.owner}])
    return ["--layer", path]


def whiteouts_in(stage: Stage, *entries: oci.Entry) -> Look:
    look = look_of(stage)
    make_lower(stage)
    options = with_tar(stage, oci.tar(oci.entry("lower/added"), *entries))
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "list=/lower", "list=/lower/folder"),
                                 *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def whiteouts(stage: Stage) -> Look:
    """A layer that hides a file, and the content of a directory."""
    return whiteouts_in(stage, oci.entry("lower/.wh.removed"),
                        oci.entry("lower/folder/.wh..wh..opq"), oci.entry("lower/folder/new"))


def no_whiteouts(stage: Stage) -> Look:
    """A layer that hides nothing."""
    return whiteouts_in(stage, oci.entry("lower/folder/new"))


def hostile_layer(stage: Stage) -> Look:
    """A layer that tries to write in a directory of the host, through a link."""
    look = look_of(stage)
    outside = f"{stage.folder}/outside"
    options = with_tar(stage, oci.tar(oci.link("escape", outside),
                                      oci.entry("escape/made", b"by the layer")))
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello"), *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.facts["outside"] = stage.agent.list(outside)[outside].get("entries")
    stage.agent.ask("remove", paths=[f"{outside}/made"])
    return look


# --- Observations ---------------------------------------------------------------------------------


def text_of(answers: Dict, verb: str) -> Dict:
    """The probe's only answer to a verb of one scene, or {}."""
    return answers.get(verb, [{}])[0]


def lower_is_unchanged(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    refused_verbs = [verb for verb in CHANGES.values() if not text_of(look.answers, verb).get("ok")]
    before, after = look.fact("before"), look.fact("after")
    if before != after:
        changed = [path for path, what in before.items() if after[path] != what]
        return violated(f"changed on the host: {', '.join(changed)}")
    if len(refused_verbs) == len(CHANGES):
        raise ProbeBroke("the probe could not change anything")
    return holds("its files have the same texts, modes, owners and inode numbers")


def changes_are_seen(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    failed = {verb: text_of(look.answers, verb).get("errno") for verb in CHANGES.values()
              if not text_of(look.answers, verb).get("ok")}
    if failed:
        return violated(f"refused: {failed}")
    nonce = look.names["nonce"]
    written = text_of(look.answers, "read=/lower/written").get("text", "")
    renamed = text_of(look.answers, "read=/lower/new").get("text", "")
    names = sorted(text_of(look.answers, "list=/lower").get("names", []))
    if (written.startswith(nonce) and renamed.startswith(f"renamed-{nonce}")
            and names == ["closed", "folder", "new", "written"]
            and text_of(look.answers, "list=/lower/folder").get("names") == []):
        return holds(f"written, removed, renamed; the directory has {', '.join(names)}")
    return violated(f"the directory has {names}; {written!r}, {renamed!r}")


def second_finds(look: Look, found: Callable[[str], Seen], missing: Callable[[str], Seen]) -> Seen:
    """Does the second container find the file that the first has written?"""
    if look.problem:
        raise NotStarted(look.problem)
    verb = f"left-{look.names['nonce']}"
    if not text_of(look.fact("first"), f"write=/{verb}").get("ok"):
        raise never_ran(look.run("first"))
    if not look.fact("second").get("hello"):
        raise never_ran(look.run("second"))
    answer = text_of(look.fact("second"), f"read=/{verb}")
    if answer.get("text") == look.names["nonce"]:
        return found("the second container reads what the first has written")
    if answer.get("errno") == "ENOENT":
        return missing("for the second container the first one's file is not there")
    raise ProbeBroke(str(answer))


def second_starts_afresh(look: Look) -> Seen:
    return second_finds(look, violated, holds)


def second_goes_on(look: Look) -> Seen:
    return second_finds(look, holds, violated)


def second_is_refused(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    run = look.run("second")
    if look.fact("second").get("hello"):
        return violated("a second container runs meanwhile")
    if run["why"] == "ended" and run.get("exit") == 125 and run["stderr"]:
        return holds(tell_run(run))
    return violated(tell_run(run))


def later_layer_is_above(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    nonce = look.names["nonce"]
    return text_is(text_of(look.answers, "read=/common").get("text", ""),
                   {f"high-{nonce}": "what the layer that was named last has"},
                   {f"low-{nonce}": "what the layer below has", "": "the file is not there"})


def names_seen(look: Look, folder: str) -> List[str]:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    names = sorted(text_of(look.answers, f"list={folder}").get("names", []))
    if "added" not in text_of(look.answers, "list=/lower").get("names", []):
        raise ProbeBroke(f"the layer is not there: {look.answers}")
    return names


def layer_is_there(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    names = text_of(look.answers, "list=/lower").get("names", [])
    if "added" in names:
        return holds("the layer's file is there")
    return violated(f"the layer's file is not there: {names}")


def whiteout_hides(look: Look) -> Seen:
    names = names_seen(look, "/lower")
    if "removed" in names:
        return violated(f"it is still there: {names}")
    if any(name.startswith(".wh.") for name in names):
        return violated(f"the tar's own mark is there: {names}")
    return holds(f"the folder has {', '.join(names)}")


def opaque_hides(look: Look) -> Seen:
    names = names_seen(look, "/lower/folder")
    if names == ["new"]:
        return holds("the directory has what the layer has, and no more")
    if "file" in names or any(name.startswith(".wh.") for name in names):
        return violated(f"the folder has {names}")
    raise ProbeBroke(f"the folder has {names}")


def layer_stays_inside(look: Look) -> Seen:
    return nothing_is_outside(look, bool(look.answers.get("hello")))


ASKS: Dict[str, Ask] = {}  # the probe is asked only what the scene says

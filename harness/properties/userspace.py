"""Stage 03: a root made of the host's programs."""

from __future__ import annotations

from typing import Dict, List

from harness.properties.look import Ask, Look, never_ran, tell_run
from harness.properties.model import Control, Property
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import ROOT, NotTestable, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="hosts_programs_run", since="03", scene=userspace, observe=userspace_runs,
            holds="a new root of the host's programs has a shell that runs",
            violated="there is none",
            lesson="A userspace is files, and files can be copied; the kernel is shared.",
            man="7 hier", mistake="--userspace is ignored, or the shell's loader is missing.",
            command="{stage} --rootfs /tmp/new --userspace minimal -- sh -c 'echo hello'"),
        Property(
            name="libraries_come_along", since="03", scene=userspace,
            observe=libraries_are_there,
            holds="a dynamic program runs with all the libraries that its libraries need",
            violated="exec(2) does not find the loader, or the loader does not find a library",
            lesson="The loader, too, is looked up in the new root; and a library needs libraries.",
            man="8 ld.so", mistake="Only the files that the program itself names were copied.",
            command="{stage} --rootfs /tmp/new --userspace minimal -- ls /; ldd /bin/ls"),
        Property(
            name="links_are_copied_as_links", since="03", scene=userspace,
            observe=links_stay_links,
            holds="an absolute link stays a link", violated="its target was copied instead",
            lesson="A link that is followed while copying brings in files that were not asked for.",
            man="7 symlink", mistake="The copy follows links.",
            command="{stage} --rootfs /tmp/new --userspace minimal --with /srv -- ls -l /srv"),
        Property(
            name="copies_are_copies", since="03", scene=userspace, observe=copies_are_copies,
            holds="what is written to a copy does not change the host's file, and a copy has the"
                  " mode and the owner of the file",
            violated="the host's file changes, the copy cannot be written, or it is another's",
            lesson="A hard link or a bind mount is fast, but it is the host's own file. And a key"
                   " that only its owner could read must not be everybody's in the new root.",
            man="2 link", mistake="Files were hard-linked or bind-mounted instead of copied, or"
                                  " their modes and owners were left out.",
            command="{stage} --rootfs /tmp/new --userspace minimal --with /srv -- sh -c 'echo >"
                    " /srv/x'"),
        Property(
            name="copied_links_stay_inside", since="03", scene=userspace_link,
            observe=copied_links_stay_inside, identities=(ROOT,), control=Control.NONE,
            seen_failing="the mutant links_lead_out_of_the_copy",
            holds="a link that was copied does not lead later files out of the new root",
            violated="a file of the host is replaced",
            lesson="A path below the new root is looked up on the host, so absolute links in it"
                   " start at the host's '/'.",
            man="2 openat2", mistake="Paths in the new root were given to open(2).",
            command="{stage} --rootfs /tmp/new --userspace minimal --with /srv --with"
                    " /srv/link/file -- ls -l /srv"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def userspace(stage: Stage) -> Look:
    """A root of the host's programs; before stage 03, one that was copied by hand."""
    look = look_of(stage)
    new, folder = f"{stage.folder}/new", f"{stage.folder}/with"
    text = f"file-{stage.nonce}"
    owner = {"uid": 1234, "gid": 2345} if stage.identity == ROOT else stage.owner
    stage.agent.make([{"kind": "directory", "path": folder, "mode": 0o755, **stage.owner},
                      {"path": f"{folder}/file", "text": text, "mode": 0o644, **stage.owner},
                      {"path": f"{folder}/key", "text": text, "mode": 0o640, **owner},
                      {"kind": "link", "path": f"{folder}/link", "text": stage.names["secret"]}])
    loaded = stage.agent.run(["ls"], program="/bin/ls", env={"LD_TRACE_LOADED_OBJECTS": "1"})
    look.facts["libraries"] = [line.split()[0] for line in loaded["stdout"].splitlines()]
    options = ["--rootfs", new]
    if stage.at_least("03"):
        options += ["--userspace", "minimal", "--with", stage.host_probe, "--with", folder]
    else:
        for path in (new, f"{new}/bin", f"{new}/tmp", new + stage.folder, new + folder):
            stage.agent.make([{"kind": "directory", "path": path, "mode": 0o755, **stage.owner}])
        stage.busybox("cp", "/bin/ls", f"{new}/bin/ls")
        stage.busybox("cp", stage.host_probe, new + stage.host_probe)
        stage.busybox("cp", "-L", f"{folder}/link", f"{new}{folder}/link")
        stage.busybox("ln", f"{folder}/file", f"{new}{folder}/file")
    stage.watch()
    probe = [stage.host_probe, stage.nonce, "hello", f"write={folder}/file"]
    look.runs["run"] = stage.run(probe, *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.runs["ls"] = stage.run(["/bin/ls", "/"], *options)
    look.runs["sh"] = stage.run(["sh", "-c", "exit 37"], *options)
    look.facts["link"] = stage.agent.stat(f"{new}{folder}/link", follow=False)
    look.facts["host_file"] = stage.agent.read(f"{folder}/file")[f"{folder}/file"].get("text")
    look.facts["host_file_was"] = text
    for name, path in (("key", f"{folder}/key"), ("copied_key", f"{new}{folder}/key")):
        key = stage.agent.stat(path)[path]
        look.facts[name] = (f"{key['uid']}:{key['gid']}, mode {key['mode'] & 0o7777:o}"
                            if "mode" in key else f"none: {key}")
    return look


def userspace_link(stage: Stage) -> Look:
    """The program copies a directory with a link in it, and a file whose path leads through that
    link."""
    look = look_of(stage)
    new, folder, outside = f"{stage.folder}/new", f"{stage.folder}/with", f"{stage.folder}/outside"
    kept, text = f"{outside}/kept", f"kept-{stage.nonce}"
    stage.agent.make([{"kind": "directory", "path": folder, "mode": 0o755, **stage.owner},
                      {"kind": "link", "path": f"{folder}/way", "text": outside},
                      {"path": kept, "text": text, "mode": 0o644, **stage.owner}])
    before = stage.agent.stat(kept)[kept]
    look.runs["run"] = stage.run(
        [stage.host_probe, stage.nonce, "hello", f"read={folder}/way/kept"], "--rootfs", new,
        "--userspace", "minimal", "--with", stage.host_probe, "--with", folder,
        "--with", f"{folder}/way/kept")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    after = stage.agent.stat(kept)[kept]
    look.facts["same_file"] = before.get("ino") == after.get("ino")
    look.facts["outside"] = stage.agent.list(outside)[outside].get("entries")
    look.facts["text"] = text
    return look


# --- Observations ---------------------------------------------------------------------------------


def userspace_runs(look: Look) -> Seen:
    run = look.run("sh")
    if run.get("exit") == 37:
        return holds("sh ran: exit status 37")
    if run.get("exit") == 127:
        return violated(tell_run(run))
    raise never_ran(run)


def libraries_are_there(look: Look) -> Seen:
    libraries = look.fact("libraries")
    if len(libraries) < 2:
        raise NotTestable(f"the host's /bin/ls needs too few libraries: {libraries}")
    run = look.run("ls")
    if run.get("exit") == 0 and "tmp" in run["stdout"].split():
        return holds(f"/bin/ls runs; on the host it loads {', '.join(libraries)}")
    if run.get("exit") in (126, 127):
        return violated(tell_run(run))
    raise never_ran(run)


def links_stay_links(look: Look) -> Seen:
    link = next(iter(look.fact("link").values()))
    if link.get("mode", 0) & 0o170000 == 0o120000:
        return holds("it is a link in the new root, too")
    if link.get("mode", 0) & 0o170000 == 0o100000:
        return violated("the file that it leads to was copied in its place")
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    raise ProbeBroke(f"{link}; {look.tell_runs()}")


def copies_are_copies(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    answer = next((given[0] for verb, given in look.answers.items() if verb.startswith("write=")),
                  {})
    if answer.get("errno") in ("EACCES", "EPERM", "EROFS"):
        return violated(f"root inside may not write to the copy: {answer['errno']}")
    if not answer.get("ok"):
        raise ProbeBroke(f"the probe could not write to the copy: {answer}")
    was, text = look.fact("host_file_was"), look.fact("host_file")
    if text != was:
        return violated(f"the host's file is now {text!r}")
    if look.fact("key") != look.fact("copied_key"):
        return violated(f"a copy has {look.fact('copied_key')}, and the file {look.fact('key')}")
    return holds(f"the host's file is as it was; a copy has its {look.fact('key')}, too")


def copied_links_stay_inside(look: Look) -> Seen:
    if not look.fact("same_file") or list(look.fact("outside") or []) != ["kept"]:
        return violated("the host's file was replaced, or there is another: "
                        f"{look.fact('outside')}")
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    answer = next((given[0] for verb, given in look.answers.items() if verb.startswith("read=")),
                  {})
    if answer.get("text") == look.fact("text"):
        return holds("the link leads to a copy in the new root, and the host's file is as it was")
    raise ProbeBroke(f"{answer}; {look.tell_runs()}")


ASKS: Dict[str, Ask] = {}  # the probe is asked only what the scene says

"""Stage 08a, --image: OCI images, which name the command that they run."""

from __future__ import annotations

from typing import Dict, List

from harness import oci_layout as oci
from harness.properties.look import Ask, Look, never_ran, tell_run
from harness.properties.model import Control, Positive, Property
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="image_says_what_runs", since="08a", scene=image, observe=image_is_obeyed,
            control=Control.OTHER_SCENE, control_scene=image_overruled,
            holds="--image runs the image's own command, in its directory, with its variables",
            violated="it runs in another directory, or without the variables",
            lesson="An image is layers and a config, which names the command, its directory and"
                   " its user.",
            man="7 environ", mistake="The image's config is ignored.",
            command="{stage} --image DIR"),
        Property(
            name="tampered_layer_is_refused", since="08a", scene=tampered_image,
            observe=tampered_layer_is_refused, control=Control.OTHER_SCENE,
            control_scene=image,
            earned_by=Positive(image),
            holds="an image whose layer does not have its digest gets 125", violated="it runs",
            lesson="A layer's name is the digest of its content: a program that checks it need not"
                   " trust the mirror.",
            man="1 sha256sum", mistake="The digest is only used as a name.",
            command="{stage} --image DIR"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def image_in(stage: Stage, *words: str, tampered: bool = False) -> Look:
    """An OCI image layout of the root directory, whose command is the probe."""
    look = look_of(stage)
    image = f"{stage.folder}/new-image"
    blobs = f"{image}/blobs/sha256"
    stage.agent.make([{"kind": "directory", "path": path, "mode": 0o755, **stage.owner}
                      for path in (image, f"{image}/blobs", blobs)])
    layer = f"{image}/layer"
    stage.busybox("tar", "-C", stage.root, "-cf", layer, ".")
    digest = stage.busybox("sha256sum", layer)["stdout"].split()[0]
    size = stage.agent.stat(layer)[layer]["size"]
    if tampered:  # of the same size, and a tar as before
        stage.agent.make([{"path": f"{stage.root}/.marker", "text": stage.nonce[::-1],
                           "mode": 0o644, **stage.owner}])
        stage.busybox("tar", "-C", stage.root, "-cf", layer, ".")
    stage.busybox("mv", layer, f"{blobs}/{digest}")
    config = {"Entrypoint": ["/probe", stage.nonce], "Cmd": ["hello", "cwd", "hold=1"],
              "WorkingDir": "/tmp", "Env": [f"OF_THE_IMAGE=image-{stage.nonce}"]}
    described = {"mediaType": oci.LAYER, "digest": f"sha256:{digest}", "size": size}
    stage.agent.make([{"path": f"{image}/{name}", "text": content.decode(), "mode": 0o644,
                       **stage.owner} for name, content in oci.layout([described], config).items()])
    stage.busybox("chmod", "-R", "a+rX", image)
    stage.watch()
    run = stage.start_words([stage.program, "--image", image, *words], close_stdin=False)
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


def image(stage: Stage) -> Look:
    """An image that names its own command."""
    return image_in(stage)


def image_overruled(stage: Stage) -> Look:
    """The same, but the command line says something else."""
    return image_in(stage, "-w", "/", "-e", "OF_THE_IMAGE=other", "--", "hello", "cwd", "hold=1")


def tampered_image(stage: Stage) -> Look:
    """A layer of it was changed."""
    return image_in(stage, tampered=True)


# --- Observations ---------------------------------------------------------------------------------


def image_is_obeyed(look: Look) -> Seen:
    cwd, environ = look.answer("cwd").get("path"), look.fact("environ")
    variable = f"OF_THE_IMAGE=image-{look.names['nonce']}"
    if cwd == "/tmp" and variable in environ:
        return holds("the image's command runs, in its directory, with its variable")
    return violated(f"it runs in {cwd}, with {[word for word in environ if word]}")


def tampered_layer_is_refused(look: Look) -> Seen:
    run = look.run("run")
    if look.answers.get("hello"):
        return violated("the command runs")
    if run["why"] == "ended" and run.get("exit") == 125 and run["stderr"]:
        return holds(tell_run(run))
    raise never_ran(run)


ASKS: Dict[str, Ask] = {}  # the probe is asked only what the scene says

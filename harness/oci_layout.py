"""Makes tar files and OCI image layouts, good ones and bad ones, for tests."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any, Dict, Iterable, Sequence, Tuple, Union

Entry = Union[tarfile.TarInfo, Tuple[tarfile.TarInfo, bytes]]
INDEX, MANIFEST, CONFIG, LAYER = (f"application/vnd.oci.image.{kind}" for kind in (
    "index.v1+json", "manifest.v1+json", "config.v1+json", "layer.v1.tar"))


def entry(name: str, content: bytes = b"", **fields: Any) -> Entry:
    """One entry of a tar: a file, unless `fields`, which are those of TarInfo, say otherwise."""
    info = tarfile.TarInfo(name)
    info.mode, info.size = 0o644, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def folder(name: str, mode: int = 0o755, **fields: Any) -> Entry:
    return entry(name, type=tarfile.DIRTYPE, mode=mode, **fields)


def link(name: str, target: str) -> Entry:
    return entry(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)


def hard_link(name: str, target: str) -> Entry:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def tar(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    """The entries exactly as given, however hostile."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form, errors="surrogateescape") as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def descriptor(kind: str, content: bytes, **more: Any) -> Dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{sha256(content)}", "size": len(content), **more}


def layout(layers: Sequence[Union[bytes, Dict[str, Any]]], config: Dict[str, Any],
           tags: Iterable[str] = ("latest",), architecture: str = "amd64") -> Dict[str, bytes]:
    """The files of an image layout, by path: as skopeo copy oci:DIR:TAG writes it.

    A layer that is a descriptor is in its place already.
    """
    blobs = [layer for layer in layers if isinstance(layer, bytes)]
    diff_ids = [f"sha256:{sha256(blob)}" for blob in blobs]  # if they are not compressed
    blobs.append(json.dumps({"architecture": architecture, "os": "linux", "config": config,
                             "rootfs": {"type": "layers", "diff_ids": diff_ids},
                             "history": [{} for _ in diff_ids]}).encode())
    blobs.append(json.dumps({
        "schemaVersion": 2, "config": descriptor(CONFIG, blobs[-1]),
        "layers": [descriptor(LAYER, layer) if isinstance(layer, bytes) else layer
                   for layer in layers]}).encode())
    manifests = [descriptor(MANIFEST, blobs[-1],
                            annotations={"org.opencontainers.image.ref.name": tag})
                 for tag in tags]
    return {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": manifests}).encode(),
        **{f"blobs/sha256/{sha256(blob)}": blob for blob in blobs},
    }

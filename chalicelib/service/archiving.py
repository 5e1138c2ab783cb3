"""Putting pages into the archive and reading them back: what is to be deleted is surely there first."""

import hashlib
from collections.abc import Mapping, Sequence

from chalicelib.domain.archive import (
    Archive,
    Damaged,
    Kind,
    Manifest,
    manifest_text,
    page,
    read_lines,
    read_manifest,
)
from chalicelib.domain.errors import StoreUnsure
from chalicelib.service.writing import TRIES


def keep(
    archive: Archive, kind: Kind, lines: Mapping[str, str], marks: frozenset[str] = frozenset()
) -> Manifest:
    """Have lines, by id, in the archive for certain: written with a manifest, read back, and the same.

    Raises Damaged or StoreError; then they are not, or nobody can tell.
    """
    made = page(kind, lines, marks)
    manifest = made.manifest
    _put(archive, manifest.key, made.body, manifest.sha256)
    put_manifest(archive, manifest)
    if read(archive, manifest.name)[1] != [lines[each] for each in sorted(lines)]:
        raise Damaged(f"{manifest.key} holds other lines.")
    return manifest


def put_manifest(archive: Archive, manifest: Manifest) -> None:
    """Write a manifest. Raises StoreError."""
    text = manifest_text(manifest)
    _put(archive, manifest.name, text, hashlib.sha256(text).hexdigest())


def read(archive: Archive, manifest_name: str) -> tuple[Manifest, Sequence[str]]:
    """Return a manifest and the lines of its object. Raises Damaged or StoreRefused."""
    text = archive.read(manifest_name)
    if text is None:
        raise Damaged(f"{manifest_name} is missing.")
    manifest = read_manifest(text)
    return manifest, read_lines(manifest, archive.read(manifest.key))


def _put(archive: Archive, key: str, body: bytes, sha256: str) -> None:
    for _ in range(TRIES):
        try:
            return archive.put(key, body, sha256=sha256)
        except StoreUnsure:
            continue  # the same object once more
    raise StoreUnsure

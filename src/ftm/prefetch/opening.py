"""Opening a quarter for writing: lease, manifest, session, in this order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ftm.core.errors import ConfigError, CorruptObjectError, FtmError, ObjectNotFoundError
from ftm.core.layout import PrefetchLayout
from ftm.prefetch.leftovers import finish_giving_up
from ftm.prefetch.lost_parts import drop_lost_parts
from ftm.prefetch.plan_file import read_plan
from ftm.prefetch.publishing import is_published
from ftm.prefetch.quarter_writer import QuarterWriter
from ftm.prefetch.sessions import (
    Opening,
    Request,
    describe_opening,
    describe_options,
    open_session,
)
from ftm.storage.checkpoint import PlanChoice, decode_session
from ftm.storage.lease import Clock, Writer
from ftm.storage.manifest import PrefetchManifest, decode_manifest_of
from ftm.storage.object_store import ObjectStore
from ftm.storage.open_lease import open_leased, peek_leased

_GENERATION = re.compile(r"/gen=(\d+)/")


@dataclass(frozen=True, slots=True)
class Published:
    """The manifest of a quarter as found, and its version; None and None when there is none."""

    manifest: PrefetchManifest | None
    etag: str | None
    is_damaged: bool = False

    def of_generation(self, generation: int) -> PrefetchManifest | None:
        """The manifest if it is of this generation."""
        if self.manifest is None or self.manifest.generation != generation:
            return None
        return self.manifest


@dataclass(frozen=True, slots=True)
class Opened:
    """A quarter open for writing."""

    writer: QuarterWriter
    opening: Opening
    published: Published


def read_published(
    store: ObjectStore, layout: PrefetchLayout, *, replaces: bool = False
) -> Published:
    """The published manifest, if there is one.

    Args:
        store: where.
        layout: the quarter's keys.
        replaces: a damaged one is no hindrance, as another takes its place.

    Raises:
        CorruptObjectError, ManifestVersionError, StoreError.
    """
    try:
        data, etag = store.get_versioned(layout.manifest)
    except ObjectNotFoundError:
        return Published(None, None)
    try:
        return Published(decode_manifest_of(layout.quarter, data, store), etag)
    except CorruptObjectError:
        if not replaces:
            raise
        return Published(None, etag, is_damaged=True)


def find_generations(store: ObjectStore, layout: PrefetchLayout) -> list[int]:
    """Numbers of the generations that have files, published or not."""
    found = set()
    for info in store.list(layout.root):
        match = _GENERATION.search(info.key)
        if match is not None:
            found.add(int(match[1]))
        elif info.key.endswith(".parquet"):
            found.add(1)
    return sorted(found)


def choose_opening(
    store: ObjectStore,
    layout: PrefetchLayout,
    request: Request,
    *,
    document: object,
    published: Published,
    now: str,
) -> Opening:
    """The session this request would work on, given the checkpoint's content; see open_session."""
    found = decode_session(document if isinstance(document, dict) else {}, key=layout.checkpoint)
    if published.is_damaged and request.selection.is_some:
        raise ConfigError(
            f"the manifest of {request.quarter} is damaged, so a refresh of some firms might leave "
            "out others that are stored; leave out --firms and --limit"
        )
    starts_anew = request.kind != "prefetch"
    if found is None and not starts_anew and published.manifest is None:
        _check_never_refreshed(store, layout)
    return open_session(
        request,
        found=found,
        manifest=published.manifest,
        planned=find_planned(store, layout, published) if request.options is None else None,
        generations=find_generations(store, layout) if starts_anew else (),
        now=now,
    )


def _check_never_refreshed(store: ObjectStore, layout: PrefetchLayout) -> None:
    """Refuse to go back to the first generation's plan where the manifest of a later one is gone.

    Raises:
        CorruptObjectError: with what brings it back.
    """
    newest = max(find_generations(store, layout), default=1)
    if newest > 1:
        raise CorruptObjectError(
            f"{store.name(layout.manifest)} is gone, and there are files of generation {newest}; "
            f"`ftm verify --quarter {layout.quarter}` says where a copy is; or make the quarter "
            f"anew with `ftm prefetch --quarter {layout.quarter} --refresh`",
            key=layout.manifest,
        )


def options_so_far(store: ObjectStore, layout: PrefetchLayout) -> PlanChoice | None:
    """Options that a prefetch goes on with unless it is told others; None where there are none."""
    published = read_published(store, layout, replaces=True)
    found = decode_session(peek_leased(store, layout.checkpoint), key=layout.checkpoint)
    if found is not None and not is_published(found, published.manifest):
        return found.options
    return find_planned(store, layout, published)


def find_planned(
    store: ObjectStore, layout: PrefetchLayout, published: Published
) -> PlanChoice | None:
    """Options of the published plan, else of the newest there is; None where none can be read."""
    if published.manifest is not None:
        files = [published.manifest.plan.file]
    else:
        numbers = sorted(find_generations(store, layout), reverse=True)
        files = [layout.plan_file(number) for number in numbers]
    for file in files:
        with suppress(ObjectNotFoundError, CorruptObjectError):
            return read_plan(store, layout.key(file)).options
    return None


@contextmanager
def open_quarter(
    store: ObjectStore,
    request: Request,
    *,
    identity: Writer,
    clock: Clock,
    say: Callable[[str], None],
) -> Iterator[Opened]:
    """A quarter, ours alone to write until the block ends.

    However the block ends, the lease is given up; what the checkpoint names stays for the next,
    and a session that this one replaces stays until this one has a plan.

    Raises:
        LeaseHeldError: another writer is alive.
        CorruptObjectError, ManifestVersionError, StoreError: as found.
        ConfigError, FingerprintMismatchError: see open_session.
    """
    layout = PrefetchLayout(request.quarter)
    now = clock().isoformat()
    lease = open_leased(
        store,
        layout.checkpoint,
        lock_name=layout.lock_name,
        writer=identity,
        clock=clock,
        say=say,
    )
    document = dict(lease.acquire())
    is_empty = not document
    writer: QuarterWriter | None = None
    try:
        if finish_giving_up(store, layout, lease, document, say):
            document, is_empty = {}, True
        published = read_published(store, layout, replaces=request.kind == "refresh")
        opening = choose_opening(
            store, layout, request, document=document, published=published, now=now
        )
        has_manifest = published.manifest is not None
        if notice := describe_opening(opening, request.quarter, is_published=has_manifest):
            say(notice)
        if published.is_damaged:
            say(f"{request.quarter}: the damaged manifest is replaced when this is done")
        if opening.assumes_options and (published.is_damaged or has_manifest):
            say(
                f"warning: how the plan of {request.quarter} was made cannot be read; the new one "
                f"takes {describe_options(opening.session.options)}"
            )
        writer = QuarterWriter(
            store,
            layout,
            lease,
            opening.session,
            base=published.of_generation(opening.session.generation),
            manifest_etag=published.etag,
        )
        is_empty = opening.session.is_empty and opening.given_up is None
        if opening.is_new and opening.given_up is None:
            writer.save(opening.session)
        if opening.taken_up is not None:
            drop_lost_parts(store, layout, writer, opening.taken_up, say=say)
        yield Opened(writer, opening, published)
    except BaseException:
        if is_empty and (writer is None or writer.session.is_empty):
            with suppress(FtmError):
                lease.delete()
        raise
    finally:
        lease.release()

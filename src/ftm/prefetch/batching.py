"""Which firms are still to be read, and how they fall into chunks and parts. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from ftm.core.records import FirmCall
from ftm.storage.checkpoint import Session
from ftm.storage.manifest import PrefetchManifest

_T = TypeVar("_T")


def next_part_size(n_open: int, *, chunk_size: int, part_size: int) -> int:
    """Firms of the next part, so that every chunk ends where a part ends.

    Args:
        n_open: firms tried for the open chunk; less than chunk_size.
        chunk_size: firms per chunk.
        part_size: firms per part; the last part of a chunk may be shorter.
    """
    return min(part_size, chunk_size - n_open)


def split_into_chunks(firms: Sequence[_T], *, n_open: int, chunk_size: int) -> Iterator[list[_T]]:
    """The firms chunk by chunk: first what the open chunk still takes, then whole chunks."""
    start = 0
    room = chunk_size - n_open
    while start < len(firms):
        yield list(firms[start : start + room])
        start, room = start + room, chunk_size


def pending_calls(
    calls: Sequence[FirmCall], session: Session, base: PrefetchManifest | None
) -> list[FirmCall]:
    """The calls this session is still to read, in order: first those whose parts were lost.

    Args:
        calls: all that the plan keeps, sorted by firm_id.
        session: what it has done, and what it is asked for.
        base: the manifest of the same generation, if there is one. Its skipped firms stay
            skipped (same plan, same text); its failed ones are tried again.
    """
    settled = session.durable() | session.skipped.keys() | session.failed.keys()
    if base is not None:
        settled |= base.firm_to_chunk.keys() | base.skipped.keys()
    chosen, lost = session.selection, set(session.again)
    wanted = None if chosen.firm_ids is None else set(chosen.firm_ids)
    again = [call for call in calls if call.firm_id in lost]
    settled |= lost
    found = [
        call
        for call in calls
        if call.firm_id not in settled and (wanted is None or call.firm_id in wanted)
    ]
    if chosen.limit is not None:
        found = found[: max(0, chosen.limit - (session.n_taken - chosen.after))]
    return again + found

"""Parts of an open chunk that are damaged or gone: their firms are tried again, the rest stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ftm.core.counted import counted
from ftm.core.errors import CorruptObjectError
from ftm.core.layout import PrefetchLayout
from ftm.prefetch.quarter_writer import QuarterWriter
from ftm.storage.checked import MissingObjectError, checked
from ftm.storage.checkpoint import Part, Session
from ftm.storage.object_store import ObjectStore

_NAMED = 3
"""Files a message names."""


@dataclass(frozen=True, slots=True)
class LostPart:
    """A part that cannot become a chunk.

    Args:
        part: as the checkpoint names it.
        keys: of its files that are damaged or gone.
        faults: of each, in words.
    """

    part: Part
    keys: list[str]
    faults: list[str]


def find_lost_parts(store: ObjectStore, layout: PrefetchLayout, session: Session) -> list[LostPart]:
    """The open parts of which a file is gone, or is not what the checkpoint recorded.

    Raises:
        StoreError: the store cannot be read.
    """
    found = []
    for part in session.parts:
        faults = {}
        for named in part.files:
            key = layout.key(named.file)
            if fault := _fault(store, key, named.sha256):
                faults[key] = fault
        if faults:
            found.append(LostPart(part, list(faults), list(faults.values())))
    return found


def _fault(store: ObjectStore, key: str, digest: str) -> str:
    try:
        checked(store, key, digest)
    except MissingObjectError:
        return f"{store.name(key)} is gone"
    except CorruptObjectError:
        return f"{store.name(key)} is damaged"
    return ""


def drop_lost_parts(
    store: ObjectStore,
    layout: PrefetchLayout,
    writer: QuarterWriter,
    recorded: Session,
    *,
    say: Callable[[str], None],
) -> None:
    """Take the firms of lost parts as not yet tried, in the checkpoint before anything else.

    Their files stay until the quarter is published; no name is given twice.

    Args:
        store: where.
        layout: the quarter's keys.
        writer: of the session that is taken up.
        recorded: the same as the checkpoint holds it. What the writer's selects is recorded once
            it is known that there are such firms.
        say: told which parts, if there are any.

    Raises:
        CorruptObjectError: an older ftm did not record which firms were tried for such a part.
        StoreError: the store cannot be read or written.
    """
    lost = find_lost_parts(store, layout, recorded)
    if not lost:
        return
    for each in lost:
        if each.part.tried is None:
            raise CorruptObjectError(
                f"{each.faults[0]}, and the checkpoint, by an older ftm, does not say which firms "
                f"were tried for it; delete {store.name(layout.checkpoint)} and run the command "
                "again: what is published stays, and what the unfinished command had read it reads "
                "anew",
                key=each.keys[0],
            )
    parts = [each.part for each in lost]
    resumed = writer.session.without(parts)
    writer.save(recorded.without(parts))
    writer.session = resumed
    say(_describe(lost, layout, recorded))


def _describe(lost: list[LostPart], layout: PrefetchLayout, session: Session) -> str:
    faults = [fault for each in lost for fault in each.faults]
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    n_firms = sum(each.part.n_attempted for each in lost)
    firms, whose = counted(n_firms, "firm"), "its" if len(faults) == 1 else "their"
    verb = "is" if n_firms == 1 else "are"
    done = "preprocessed" if session.kind == "preprocess" else "read"
    return (
        f"{layout.quarter}: {', '.join(faults[:_NAMED])}{more}; {whose} {firms} "
        f"{verb} {done} again, the rest is kept"
    )

"""Speaker turns read back from the components files of a prefetched quarter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ftm.connectors.discovery import Discovery, PlanOptions
from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.records import FirmCall, FirmTurns, SpeakerTurn
from ftm.core.schemas import COMPONENTS
from ftm.storage.manifest import PrefetchManifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.row_groups import FirmFileReader

GROUPS_HELD = 8
"""Row groups of ten firms in memory; firms come sorted, so a few suffice."""

_TURN_COLUMNS = (
    "component_order",
    "component_type",
    "section",
    "person_id",
    "speaker_name",
    "speaker_type",
    "raw_text",
)


class StoredTurns:
    """A PrefetchSource that needs no login: a generation's own components.

    Args:
        store: where they are.
        manifest: of the generation.
    """

    def __init__(self, store: ObjectStore, manifest: PrefetchManifest) -> None:
        layout = PrefetchLayout(Quarter.parse(manifest.quarter))
        mend = f"ftm verify --quarter {manifest.quarter} --deep --repair"
        self._readers = [
            FirmFileReader(store, layout.key(file), entry, schema=COMPONENTS, mend=mend)
            for file, entry in manifest.components.items()
        ]
        # A firm is in one file only: what is stored or skipped is never read again.
        self._file_of = {
            firm: number for number, reader in enumerate(self._readers) for firm in reader.group_of
        }
        self._group = lru_cache(GROUPS_HELD)(self._load_group)  # per object, not per class

    def discover(self, quarter: Quarter, options: PlanOptions) -> Discovery:
        """Never: the generation's plan is copied.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("stored components know no other calls than their plan's")

    def iter_turns(self, calls: Sequence[FirmCall]) -> Iterator[FirmTurns]:
        """The turns as WRDS delivered them; a firm without components comes with none.

        Raises:
            CorruptObjectError: a file differs from what the manifest records.
        """
        for call in calls:
            number = self._file_of.get(call.firm_id)
            if number is None:
                yield FirmTurns(call, ())
                continue
            group = self._readers[number].group_of[call.firm_id]
            yield FirmTurns(call, self._group(number, group)[call.firm_id])

    def close(self) -> None:
        """Forget what is held."""
        self._group.cache_clear()

    def _load_group(self, number: int, group: int) -> Mapping[str, tuple[SpeakerTurn, ...]]:
        rows = self._readers[number].read_group(group)
        found: dict[str, list[SpeakerTurn]] = {}
        columns = [rows[name].to_pylist() for name in ("firm_id", *_TURN_COLUMNS)]
        for firm_id, order, *texts in zip(*columns, strict=True):
            found.setdefault(firm_id, []).append(_turn(order, texts))
        return {firm: tuple(turns) for firm, turns in found.items()}


def _turn(order: int, texts: Sequence[Any]) -> SpeakerTurn:
    return SpeakerTurn(order, *(text or "" for text in texts))

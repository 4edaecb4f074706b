"""What `ftm verify` finds: faults of a quarter's objects, and the report of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from ftm.core.errors import CorruptObjectError
from ftm.core.quarter import Quarter
from ftm.storage.checked import MissingObjectError, checked
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import run_ids


class Grade(StrEnum):
    """How bad a fault is."""

    DAMAGED = "damaged"
    """What readers need is gone or wrong."""
    LEFT_OVER = "left over"
    """Nothing names it: it takes space, and is read by nobody."""
    NOTE = "note"
    """In order, and somebody should know of it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One object that is not as its records say.

    Args:
        key: of the object, relative to the store's root.
        what: how it is, in words.
        fix: what to do.
        grade: how bad that is.
        file: name in the prefetch manifest, of what `--repair` can make anew.
    """

    key: str
    what: str
    fix: str
    grade: Grade = Grade.DAMAGED
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """A quarter looked at.

    Args:
        quarter: like 2023Q1.
        deep: every byte was read; else names, sizes, footers and the small records.
        n_objects: looked at.
        size_bytes: of these, read or not.
        faults: in the order they were found.
    """

    quarter: str
    deep: bool
    n_objects: int
    size_bytes: int
    faults: Sequence[Fault] = field(default_factory=tuple)

    @property
    def damaged(self) -> list[Fault]:
        """What readers need and is not in order."""
        return [fault for fault in self.faults if fault.grade is Grade.DAMAGED]

    @property
    def repairable(self) -> list[str]:
        """Files of the prefetch that can be made anew, as its manifest names them."""
        return [fault.file for fault in self.damaged if fault.file is not None]


@dataclass
class Inventory:
    """Sizes of a store's objects, listed folder by folder, and what has been looked at.

    Args:
        store: whose.
        deep: whether every byte is to be read.
        ignored_runs: looked at as if they were not there.
        sizes: of what was listed or looked at.
        seen: what was looked at, and is there.
        judged: what was looked at, there or not.
    """

    store: ObjectStore
    deep: bool
    ignored_runs: frozenset[str] = frozenset()
    sizes: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    judged: set[str] = field(default_factory=set)
    _listed: set[str] = field(default_factory=set)

    def runs(self, quarter: Quarter) -> list[str]:
        """Ids of the runs of a quarter that have a spec."""
        return [run for run in run_ids(self.store, quarter) if run not in self.ignored_runs]

    def list(self, folder: str) -> list[str]:
        """Keys below a folder, listed once."""
        if folder not in self._listed:
            self.sizes |= {info.key: info.size_bytes for info in self.store.list(folder)}
            self._listed.add(folder)
        return [key for key in self.sizes if key.startswith(f"{folder}/")]

    def size(self, key: str) -> int | None:
        """Bytes of an object, now counted as looked at; None: it is not there.

        One that was not listed is asked for: a writer may have put it since.
        """
        self.judged.add(key)
        if key not in self.sizes and (info := self.store.head(key)) is not None:
            self.sizes[key] = info.size_bytes
        if key in self.sizes:
            self.seen.add(key)
        return self.sizes.get(key)

    def compare(
        self,
        files: Mapping[str, str],
        *,
        fix: str,
        sizes: Mapping[str, int] = MappingProxyType({}),
        grade: Grade = Grade.DAMAGED,
        user: str = "",
    ) -> Iterator[Fault]:
        """Objects against their recorded hashes: there, not empty, and, if deep, these bytes.

        Args:
            files: key → sha256.
            fix: what makes them anew.
            sizes: key → bytes, of those whose size is on record.
            grade: of those that differ.
            user: who needs them, to be told; "": everybody.
        """
        for key, digest in files.items():
            if (what := self._differs(key, digest, sizes.get(key))) is not None:
                yield Fault(key, f"{what}, and {user}" if user else what, fix, grade)

    def _differs(self, key: str, digest: str, recorded: int | None) -> str | None:
        size = self.size(key)
        if size is None:
            return "it is gone"
        if recorded is not None and size != recorded:
            return f"it has {size:,} bytes, {recorded:,} are recorded"
        if size == 0:
            return "it is empty"
        if not self.deep:
            return None
        try:
            checked(self.store, key, digest)
        except MissingObjectError:
            return "it is gone"
        except CorruptObjectError:
            return "its bytes are not those recorded"
        return None

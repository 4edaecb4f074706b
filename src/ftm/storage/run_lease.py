"""The right to carry a run through, or to publish tables of it otherwise: one command at a time.

Two on one run would do its work twice, and the later one publish what the earlier one knew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from ftm.core.errors import FtmError, LeaseHeldError
from ftm.core.layout import RunLayout
from ftm.storage.lease import Clock, Say, Writer
from ftm.storage.object_store import ObjectStore
from ftm.storage.open_lease import open_leased

Held = Callable[[], None]
"""Raises LeaseLostError where the run has become another command's."""


@contextmanager
def alone(
    store: ObjectStore,
    layout: RunLayout,
    *,
    say: Say,
    clock: Clock = lambda: datetime.now(UTC),
) -> Iterator[Held]:
    """Hold the run's lease.

    Yields:
        What is to be called before anything is written that another command may write as well.

    Args:
        store: where the run is.
        layout: the run's keys.
        say: told of a lease that is taken over.
        clock: UTC now.

    Raises:
        LeaseHeldError: another command holds it; it is named.
    """
    lease = open_leased(
        store,
        layout.lease,
        lock_name=layout.lock_name,
        writer=Writer.current(),
        clock=clock,
        say=say,
    )
    try:
        lease.acquire()
    except LeaseHeldError as error:
        raise LeaseHeldError(
            f"{error}; `ftm status --quarter {layout.quarter}` says how far it is"
        ) from error
    try:
        yield lease.ensure_held
    finally:
        # Parts and records are safe without it; a lost lease must not hide how the run ended.
        with suppress(FtmError):
            lease.delete()

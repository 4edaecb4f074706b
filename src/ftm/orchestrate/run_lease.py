"""The right to carry a run through: two commands on one run would do its work twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from ftm.core.errors import FtmError, LeaseHeldError
from ftm.orchestrate.run_plan import RunPlan
from ftm.storage.lease import Writer
from ftm.storage.object_store import ObjectStore
from ftm.storage.open_lease import open_leased

Held = Callable[[], None]
"""Raises LeaseLostError where the run has become another command's."""


@contextmanager
def alone(
    store: ObjectStore, plan: RunPlan, *, clock: Callable[[], datetime], say: Callable[[str], None]
) -> Iterator[Held]:
    """Hold the run's lease.

    Yields:
        What is to be called before anything is written that another command may write as well.

    Args:
        store: where the run is.
        plan: the run.
        clock: UTC now.
        say: told of a lease that is taken over.

    Raises:
        LeaseHeldError: another command holds it; it is named.
    """
    lease = open_leased(
        store,
        plan.layout.lease,
        lock_name=plan.layout.lock_name,
        writer=Writer.current(),
        clock=clock,
        say=say,
    )
    try:
        lease.acquire()
    except LeaseHeldError as error:
        raise LeaseHeldError(
            f"{error}; `ftm status --quarter {plan.quarter}` says how far it is"
        ) from error
    try:
        yield lease.ensure_held
    finally:
        # Parts and records are safe without it; a lost lease must not hide how the run ended.
        with suppress(FtmError):
            lease.delete()

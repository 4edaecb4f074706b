"""The plan of a generation: made once, kept, followed ever after."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ftm.connectors.base import unknown_firms
from ftm.connectors.discovery import PrefetchSource
from ftm.core.errors import (
    CorruptObjectError,
    NoCallsError,
    ObjectExistsError,
    ObjectNotFoundError,
)
from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.schemas import PLAN_REASONS
from ftm.prefetch.plan import build_plan
from ftm.prefetch.plan_file import (
    StoredPlan,
    make_plan,
    plan_options,
    read_plan,
    reasons_not_kept,
    source_of,
)
from ftm.prefetch.quarter_writer import QuarterWriter
from ftm.prefetch.sessions import Request, options_error
from ftm.storage.checkpoint import PlanChoice, Selection, Session
from ftm.storage.manifest import PrefetchManifest, Source
from ftm.storage.object_store import ObjectStore


def find_plan(store: ObjectStore, layout: PrefetchLayout, generation: int) -> StoredPlan | None:
    """The stored plan of a generation, or None."""
    try:
        return read_plan(store, layout.key(layout.plan_file(generation)))
    except ObjectNotFoundError:
        return None


def check_plan(
    plan: StoredPlan | None, request: Request, session: Session, base: PrefetchManifest | None
) -> None:
    """Check that a generation's plan is the one its chunks follow, and the one asked for.

    Raises:
        CorruptObjectError: it is gone, or another.
        ConfigError: it was made with other options than the session has.
    """
    recorded = base.plan.sha256 if base is not None else None
    if session.n_taken and recorded is None:
        recorded = session.plan_sha256
    if recorded is not None and (plan is None or plan.sha256 != recorded):
        layout = PrefetchLayout(Quarter.parse(request.quarter))
        key = layout.key(layout.plan_file(session.generation))
        state = "is gone" if plan is None else "differs from what was recorded"
        raise CorruptObjectError(
            f"the plan of {request.quarter}, {key}, {state}; restore it from a backup, or make the "
            f"quarter anew with `ftm prefetch --quarter {request.quarter} --refresh`",
            key=key,
        )
    if plan is not None and (
        problem := options_error(plan.options, session.options, request.quarter)
    ):
        raise problem


def keep_plan(
    store: ObjectStore,
    layout: PrefetchLayout,
    writer: QuarterWriter,
    request: Request,
    get_source: Callable[[], PrefetchSource],
) -> StoredPlan:
    """The plan this session follows: the stored one, or one made now and stored first.

    Raises:
        UnknownFirmError: a firm asked for has no call in the quarter; nothing is stored.
        WRDSConnectionError, WRDSQueryError: discovery failed.
        CorruptObjectError: it is gone or damaged, and firms were read by it.
    """
    try:
        plan = _find_own(store, layout, writer)
        check_plan(plan, request, writer.session, writer.base)
    except CorruptObjectError as error:
        raise _plan_error(error, store, layout, writer.session) from error
    if plan is None:
        return _make_and_put(store, layout, writer, request, get_source())
    check_firm_ids(plan, request.selection, request.quarter)
    adopt_plan(writer, plan)
    return plan


def _find_own(
    store: ObjectStore, layout: PrefetchLayout, writer: QuarterWriter
) -> StoredPlan | None:
    """The plan in the store; one that is not what this session was about to put goes.

    That one is damaged, or of a writer taken over. Where firms were tried it stays, for they were
    read by it.
    """
    session = writer.session
    is_followed = session.n_taken or writer.base is not None or session.plan_sha256 is None
    try:
        plan = find_plan(store, layout, session.generation)
    except CorruptObjectError:
        if is_followed:
            raise
    else:
        if plan is None or is_followed or plan.sha256 == session.plan_sha256:
            return plan
    writer.drop_plan()
    return None


def _plan_error(
    error: CorruptObjectError, store: ObjectStore, layout: PrefetchLayout, session: Session
) -> CorruptObjectError:
    """The same; a refresh that is to be taken up is not begun anew by asking for it again."""
    if session.kind != "refresh":
        return error
    what = str(error).partition("; ")[0]
    return CorruptObjectError(
        f"{what}; restore it from a backup, or delete {store.name(layout.checkpoint)} and run the "
        "command again: what is published stays, and what the unfinished command had read it reads "
        "anew",
        key=error.key,
    )


def adopt_plan(writer: QuarterWriter, plan: StoredPlan) -> None:
    """Record which plan the session follows, unless that is recorded."""
    session = writer.session
    if session.plan_sha256 != plan.sha256 or session.source is None:
        source = session.source or (writer.base.source if writer.base is not None else None)
        dated = plan.source.model_copy(update={"extracted_at": session.created_at})
        writer.save(session.changed(plan_sha256=plan.sha256, source=source or dated))


def _make_and_put(
    store: ObjectStore,
    layout: PrefetchLayout,
    writer: QuarterWriter,
    request: Request,
    source: PrefetchSource,
) -> StoredPlan:
    plan, read_from = discover_plan(source, request.quarter, writer.session.options)
    check_firm_ids(plan, request.selection, request.quarter)
    writer.save(writer.session.changed(plan_sha256=plan.sha256, source=read_from))
    try:
        writer.put_plan(plan.data)
    except ObjectExistsError:
        # A writer that lost its lease put its own just now; the first plan is the plan.
        plan = read_plan(store, layout.key(layout.plan_file(writer.session.generation)))
        adopt_plan(writer, plan)
    return plan


def discover_plan(
    source: PrefetchSource, quarter: Quarter, options: PlanChoice
) -> tuple[StoredPlan, Source]:
    """A fresh plan, not stored, and where it was read from.

    Raises:
        NoCallsError: there is no call at all; an empty plan would stand for ever.
    """
    found = source.discover(quarter, plan_options(options))
    if not found.calls.num_rows:
        raise NoCallsError(
            f"no earnings call in {quarter} on WRDS (database "
            f"{found.source.database!r}); nothing is stored; check the quarter"
        )
    read_from = source_of(found.source)
    return make_plan(build_plan(found), options, read_from), read_from


def check_firm_ids(plan: StoredPlan, selection: Selection, quarter: Quarter) -> dict[str, str]:
    """The firms asked for by name that the plan does not keep, with the reason in words.

    Raises:
        UnknownFirmError: a firm has no call in the quarter at all.
    """
    if selection.firm_ids is None:
        return {}
    known = set(plan.calls["firm_id"].to_pylist())
    if unknown := [firm for firm in selection.firm_ids if firm not in known]:
        raise unknown_firms(unknown, source=f"the plan of {quarter}", known=sorted(known))
    reasons = reasons_not_kept(plan.calls)
    return {
        firm: f"{reasons[firm]}: {PLAN_REASONS.get(reasons[firm], 'not kept')}"
        for firm in selection.firm_ids
        if firm in reasons
    }


def same_options(store: ObjectStore, published: PrefetchManifest | None, plan: StoredPlan) -> bool:
    """Whether the published plan was made as this one; one that cannot be read counts so."""
    if published is None:
        return True
    layout = PrefetchLayout(Quarter.parse(published.quarter))
    with suppress(CorruptObjectError):
        old = find_plan(store, layout, published.generation)
        return old is None or old.options == plan.options
    return True

"""`WRDSPrefetcher`: a quarter from WRDS into the store, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, cast

from ftm.connectors.base import list_ids
from ftm.connectors.discovery import PlanOptions, PrefetchSource
from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    WRDSConnectionError,
    WRDSConnectionLostError,
)
from ftm.core.layout import PrefetchLayout
from ftm.core.progress import NoProgress, Progress
from ftm.core.quarter import Quarter
from ftm.prefetch.arguments import as_store, at_least_one, default_preprocessor
from ftm.prefetch.arrived_texts import find_arrived_texts
from ftm.prefetch.base import PlanReport, PrefetchSummary, Preprocessor, summarize
from ftm.prefetch.batching import pending_calls
from ftm.prefetch.filling import fill_quarter
from ftm.prefetch.on_demand import OnDemand
from ftm.prefetch.opening import (
    Published,
    choose_opening,
    open_quarter,
    options_so_far,
    read_published,
)
from ftm.prefetch.plan import (
    PlanRevision,
    build_plan,
    compare_plans,
    count_reasons,
    kept_calls,
    shared_permnos,
)
from ftm.prefetch.plan_file import StoredPlan, plan_choice, plan_options
from ftm.prefetch.plan_keeping import (
    check_firm_ids,
    check_plan,
    discover_plan,
    find_plan,
    keep_plan,
    same_options,
)
from ftm.prefetch.publishing import firms_lost
from ftm.prefetch.quarter_writer import QuarterWriter
from ftm.prefetch.sessions import Opening, Request, describe_opening
from ftm.storage.checkpoint import Selection, Session
from ftm.storage.lease import Clock, Writer
from ftm.storage.manifest import PrefetchManifest, load_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.open_lease import peek_leased

Ask = Callable[[str], bool]
"""Puts a question to a person and returns whether the answer is yes."""


def utc_now() -> datetime:
    """The time now, aware."""
    return datetime.now(UTC)


class WRDSPrefetcher:
    """Reads quarters from WRDS and keeps them in the store; a context manager.

    One prefetcher logs in at most once, however many quarters it reads, and not at all when
    nothing is pending. Everything it does can be killed anywhere and is resumed by asking again.

    Args:
        source: what is read, or a function that opens it on first use (and which is closed by
            `close`).
        store: where to: a URL, whose folder is made if it is missing, or an open store.
        preprocessor: the text step, or a function that makes it on first use; None: the built-in
            rules, on every core.
        chunk_size: firms per chunk; None: as in an unfinished prefetch, else CHUNK_SIZE.
        checkpoint_interval: firms per part; None: CHECKPOINT_INTERVAL.
        clock: the time, aware, UTC.
        progress: told of every firm.
        ask: asked whether to log in again when the connection was cut, which sends another Duo
            push; None: never, the prefetch stops.
        new_identity: who holds the lease.
    """

    CHUNK_SIZE = 200
    CHECKPOINT_INTERVAL = 100

    def __init__(
        self,
        source: PrefetchSource | Callable[[], PrefetchSource],
        store: str | ObjectStore,
        preprocessor: Preprocessor | Callable[[], Preprocessor] | None = None,
        *,
        chunk_size: int | None = None,
        checkpoint_interval: int | None = None,
        clock: Clock = utc_now,
        progress: Progress | None = None,
        ask: Ask | None = None,
        new_identity: Callable[[], Writer] = Writer.current,
    ) -> None:
        self._source = OnDemand[PrefetchSource](source, having="discover")
        self._preprocessor = OnDemand[Preprocessor](
            preprocessor or default_preprocessor, having="map"
        )
        self._store = as_store(store)
        self._chunk_size = at_least_one("chunk size", chunk_size)
        self._part_size = (
            at_least_one("checkpoint interval", checkpoint_interval) or self.CHECKPOINT_INTERVAL
        )
        self._clock = clock
        self._progress = progress or NoProgress()
        self._ask = ask
        self._new_identity = new_identity
        self._writers: list[QuarterWriter] = []

    @property
    def finished(self) -> tuple[Quarter, ...]:
        """Quarters that this object published, and has nothing left to do of."""
        return tuple(writer.quarter for writer in self._writers if writer.is_closed)

    def prefetch_quarter(
        self,
        quarter: str | Quarter,
        firm_ids: Iterable[str] | None = None,
        *,
        limit: int | None = None,
        refresh: bool = False,
        options: PlanOptions | None = None,
        accept_losses: bool = False,
    ) -> PrefetchSummary:
        """Store every firm the plan keeps and that is not stored yet.

        Args:
            quarter: like 2023Q1.
            firm_ids: only these; None: all, empty: none.
            limit: try at most so many firms now.
            refresh: make a new plan and read everything anew, beside what is there.
            options: of the plan; None: those of the plan there is, else the defaults. A quarter's
                plan is made once, other options need a refresh.
            accept_losses: of a refresh: publish it though most of the stored firms are not in it.

        Raises:
            ConfigError: the quarter has not begun; nothing is written.
            NoCallsError: (a ConfigError) it has no call; nothing is written.
            UnknownFirmError: a firm has no call in the quarter; nothing is written.
            LeaseHeldError: another prefetch of the quarter is running.
            FingerprintMismatchError: the quarter was preprocessed by another text pipeline.
            WRDSError, StoreError: stopped; the same call goes on where this one was. A store
                that cannot be written is found before any login.
        """
        request = self._request(quarter, firm_ids, limit=limit, refresh=refresh, options=options)
        if (summary := self._nothing_to_do(request)) is not None:
            return summary
        self._store.check_writable()
        while True:
            try:
                return self._write(request, accept_losses=accept_losses)
            except WRDSConnectionError as error:
                # Whoever asks again, now or later, gets another login; what was attempted is in
                # the checkpoint.
                self._source.close()
                if not isinstance(error, WRDSConnectionLostError) or not self._reconnects(error):
                    raise

    def _write(self, request: Request, *, accept_losses: bool) -> PrefetchSummary:
        """Take up the quarter, alone, and go on until nothing is pending."""
        layout = PrefetchLayout(request.quarter)
        say = self._progress.message
        with open_quarter(
            self._store, request, identity=self._new_identity(), clock=self._clock, say=say
        ) as opened:
            writer = opened.writer
            self._writers.append(writer)
            if opened.opening.is_over and opened.published.manifest is not None:
                writer.clean_up()
                manifest = opened.published.manifest
                plan = self._stored_plan(request, writer.session, manifest)
            else:
                plan = keep_plan(self._store, layout, writer, request, self._source.get)
                if not kept_calls(plan.calls):
                    say(f"{request.quarter}: the plan keeps no firm; --dry-run says why")
                manifest = fill_quarter(
                    writer,
                    layout,
                    plan,
                    get_source=self._source.get,
                    get_preprocessor=self._preprocessor.get,
                    progress=self._progress,
                    published=opened.published.manifest,
                    same_options=same_options(self._store, opened.published.manifest, plan),
                    accept_losses=accept_losses,
                )
        return summarize(
            manifest,
            plan=plan.calls,
            session=writer.session,
            failed_before=writer.base.failed if writer.base else (),
            lost=firms_lost(manifest, opened.published.manifest),
            not_kept=check_firm_ids(plan, request.selection, request.quarter),
            resumed=not opened.opening.is_new,
            key=layout.manifest,
        )

    def options_so_far(self, quarter: Quarter) -> PlanOptions:
        """What `options=None` means for a quarter: those of its plan, else the defaults."""
        choice = options_so_far(self._store, PrefetchLayout(quarter))
        return PlanOptions() if choice is None else plan_options(choice)

    def plan_quarter(
        self,
        quarter: str | Quarter,
        firm_ids: Iterable[str] | None = None,
        *,
        limit: int | None = None,
        refresh: bool = False,
        options: PlanOptions | None = None,
    ) -> PlanReport:
        """What `prefetch_quarter` would do; writes nothing, reads WRDS only without a plan."""
        request = self._request(quarter, firm_ids, limit=limit, refresh=refresh, options=options)
        layout = PrefetchLayout(request.quarter)
        opening, published = self._look(request)
        session = opening.session
        base = published.of_generation(session.generation)
        self._tell_what_would_become(opening, request.quarter, published)
        plan = find_plan(self._store, layout, session.generation)
        check_plan(plan, request, session, base)
        is_stored = plan is not None
        if plan is None:
            plan, _ = discover_plan(self._source.get(), request.quarter, session.options)
        not_kept = check_firm_ids(plan, request.selection, request.quarter)
        reasons = count_reasons(plan.calls)
        calls = kept_calls(plan.calls)
        stored = session.durable() | (base.firm_to_chunk.keys() if base else set())
        return PlanReport(
            quarter=str(request.quarter),
            generation=session.generation,
            is_stored=is_stored,
            n_calls=plan.calls.num_rows,
            n_firms=len(set(plan.calls["firm_id"].to_pylist())),
            n_planned=reasons.pop("kept"),
            reasons=reasons,
            n_stored=len(stored),
            n_skipped=len(session.skipped.keys() | (base.skipped.keys() if base else set())),
            n_failed=len(session.failed.keys() | (base.failed.keys() if base else set())),
            pending=tuple(call.firm_id for call in pending_calls(calls, session, base)),
            shared_permnos=shared_permnos(plan.calls),
            not_kept=not_kept,
        )

    def check_revisions(self, quarter: str | Quarter) -> PlanRevision:
        """How WRDS differs today from the published plan; logs in, writes nothing.

        Raises:
            ManifestNotFoundError: the quarter is not prefetched.
        """
        manifest = load_manifest(self._store, quarter)
        layout = PrefetchLayout(Quarter.parse(quarter))
        plan = find_plan(self._store, layout, manifest.generation)
        if plan is None or plan.sha256 != manifest.plan.sha256:
            raise CorruptObjectError(
                f"the plan of {quarter}, {layout.key(manifest.plan.file)}, is gone or differs from "
                f"what was recorded; `ftm prefetch --quarter {quarter} --refresh` makes a new one"
            )
        found = self._source.get().discover(layout.quarter, plan_options(plan.options))
        arrived = find_arrived_texts(self._source.get(), plan.calls, manifest.skipped)
        return replace(compare_plans(plan.calls, build_plan(found)), arrived_texts=arrived)

    def close(self) -> None:
        """End the login and the text workers, if they were begun here."""
        self._preprocessor.close()
        self._source.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} into {self._store.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _reconnects(self, error: WRDSConnectionLostError) -> bool:
        """Whether somebody is there and wants another login."""
        if self._ask is None or not self._source.can_reopen:
            return False
        self._progress.finish()
        reason = str(error).partition("; ")[0]
        return self._ask(
            f"{reason}. What is stored is safe. Log in again and go on? (one new Duo push)"
        )

    def _request(
        self,
        quarter: str | Quarter,
        firm_ids: Iterable[str] | None,
        *,
        limit: int | None,
        refresh: bool,
        options: PlanOptions | None,
    ) -> Request:
        if limit is not None and limit < 1:
            raise ConfigError(f"limit is {limit}; expected 1 or more")
        chosen, ids = Quarter.parse(quarter), list_ids(firm_ids)
        self.check_begun(chosen)
        self._warn_of_one_that_lasts(chosen)
        return Request(
            quarter=chosen,
            kind="refresh" if refresh else "prefetch",
            options=None if options is None else plan_choice(options),
            preprocessing=dict(self._preprocessor.get().fingerprint),
            chunk_size=self._chunk_size,
            default_chunk_size=self.CHUNK_SIZE,
            part_size=self._part_size,
            selection=Selection(firm_ids=None if ids is None else sorted(set(ids)), limit=limit),
        )

    def check_begun(self, quarter: Quarter) -> None:
        """Refuse a quarter to come, before anything of it or of others is read.

        Raises:
            ConfigError: there are no calls yet.
        """
        if self._clock().date() < quarter.start:
            raise ConfigError(f"{quarter} begins on {quarter.start}; there are no calls yet")

    def _warn_of_one_that_lasts(self, quarter: Quarter) -> None:
        """Its plan is made once, so what comes later stays out."""
        if self._clock().date() <= quarter.end:
            self._progress.message(
                f"warning: {quarter} lasts until {quarter.end}; calls that are not on WRDS when "
                f"its plan is made stay out until `ftm prefetch --quarter {quarter} --refresh`"
            )

    def _tell_what_would_become(
        self, opening: Opening, quarter: Quarter, published: Published
    ) -> None:
        """Of an unfinished session, were this no dry run."""
        is_published = published.manifest is not None
        if notice := describe_opening(opening, quarter, is_published=is_published):
            self._progress.message(f"would begin by: {notice}")

    def _look(self, request: Request) -> tuple[Opening, Published]:
        """The session a prefetch would work on and what is published, without the lease."""
        layout = PrefetchLayout(request.quarter)
        published = read_published(self._store, layout, replaces=request.kind == "refresh")
        opening = choose_opening(
            self._store,
            layout,
            request,
            document=peek_leased(self._store, layout.checkpoint),
            published=published,
            now=self._clock().isoformat(),
        )
        return opening, published

    def _nothing_to_do(self, request: Request) -> PrefetchSummary | None:
        """The summary when all that is asked for is stored: no lease, no login, no write."""
        layout = PrefetchLayout(request.quarter)
        if request.kind != "prefetch" or self._store.exists(layout.checkpoint):
            return None
        opening, published = self._look(request)
        session, base = opening.session, published.manifest
        if base is None:
            return None
        plan = self._stored_plan(request, session, base)
        not_kept = check_firm_ids(plan, request.selection, request.quarter)
        calls = kept_calls(plan.calls)
        if pending_calls(calls, session, base):
            return None
        return summarize(
            base,
            plan=plan.calls,
            session=None,
            failed_before=(),
            not_kept=not_kept,
            resumed=False,
            key=layout.manifest,
        )

    def _stored_plan(
        self, request: Request, session: Session, base: PrefetchManifest
    ) -> StoredPlan:
        layout = PrefetchLayout(request.quarter)
        plan = find_plan(self._store, layout, base.generation)
        check_plan(plan, request, session, base)
        return cast("StoredPlan", plan)  # check_plan refused None, as a manifest records its plan

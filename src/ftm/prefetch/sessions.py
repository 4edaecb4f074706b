"""Which session a command works on: a new one, or an unfinished one it takes up. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ftm.connectors.discovery import PlanOptions
from ftm.core.counted import counted
from ftm.core.errors import ConfigError, FingerprintMismatchError, FtmError
from ftm.core.quarter import Quarter
from ftm.prefetch.plan_file import plan_choice
from ftm.prefetch.publishing import is_published
from ftm.storage.checkpoint import Kind, PlanChoice, Selection, Session, finishing_command
from ftm.storage.manifest import PrefetchManifest

GIVE_UP = "ftm prefetch --quarter {} --give-up"
"""What to type to drop an unfinished session, with the quarter to be filled in."""

_PARTS_A_SECOND = 1000
"""More than any session writes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a command asks for.

    Args:
        quarter: which.
        kind: of session, see storage.checkpoint.Session.
        options: of the plan; None: those of the plan there is, else the defaults.
        preprocessing: fingerprint of the text pipeline.
        chunk_size: firms tried per chunk; None: as in an unfinished session, else the default.
        default_chunk_size: see chunk_size.
        part_size: firms tried per part; may differ from the parts there are.
        selection: which firms.
    """

    quarter: Quarter
    kind: Kind
    options: PlanChoice | None
    preprocessing: Mapping[str, str]
    chunk_size: int | None
    default_chunk_size: int
    part_size: int
    selection: Selection


@dataclass(frozen=True, slots=True)
class Opening:
    """The session to work on.

    Args:
        session: new, or taken up.
        is_new: nothing is in the checkpoint yet.
        is_over: everything was published; only the cleaning up is left.
        assumes_options: nobody gave the options of the plan, and none were to be found.
        given_up: the checkpoint holds this other session, to be replaced once the new one has a
            plan.
        taken_up: the session as the checkpoint holds it, which may have another selection.
    """

    session: Session
    is_new: bool = False
    is_over: bool = False
    assumes_options: bool = False
    given_up: Session | None = None
    taken_up: Session | None = None


def open_session(
    request: Request,
    *,
    found: Session | None,
    manifest: PrefetchManifest | None,
    planned: PlanChoice | None,
    generations: Iterable[int],
    now: str,
) -> Opening:
    """The session this request begins or takes up.

    Args:
        request: what is asked.
        found: the unfinished session of the checkpoint.
        manifest: published.
        planned: options of the published plan.
        generations: numbers that files in the store have already.
        now: ISO 8601, for a new session.

    Raises:
        FingerprintMismatchError: stored chunks were made by another text pipeline.
        ConfigError: an unfinished session has other options, or is of the other command; or a new
            generation would lack firms that the published one has.
    """
    if found is not None and is_published(found, manifest):
        if _is_same_request(found, request):
            return Opening(found, is_over=True)
        found = None
    if found is not None:
        problem = _misfit(found, request, manifest)
        if problem is None:
            _check_takes_none_away(request, manifest, found.generation)
            resumed = found.changed(part_size=request.part_size)
            return Opening(_with_selection(resumed, request.selection), taken_up=found)
        if not _may_give_up(found, request):
            raise problem
    options = request.options or planned or plan_choice(PlanOptions())
    session = _new_session(request, options, found, manifest, generations, now)
    _check_takes_none_away(request, manifest, session.generation)
    assumed = request.options is None and planned is None
    return Opening(session, is_new=True, assumes_options=assumed, given_up=found)


def describe_opening(opening: Opening, quarter: Quarter, *, is_published: bool) -> str:
    """What becomes of an unfinished session, in words; empty where there is none."""
    dropped, session = opening.given_up, opening.session
    if dropped is not None:
        rest = "what is published stays" if is_published else "nothing is published yet"
        done = counted(dropped.n_attempted, "firm")
        return f"{quarter}: dropping an unfinished {dropped.kind} ({done} done), as asked; {rest}"
    if opening.is_new or opening.is_over:
        return ""
    done = counted(session.n_attempted, "firm")
    return f"{quarter}: taking up an unfinished {session.kind} ({done} done)"


def _check_takes_none_away(
    request: Request, manifest: PrefetchManifest | None, generation: int
) -> None:
    """Refuse a selection that would publish fewer firms than are published now."""
    if manifest is None or manifest.generation == generation:
        return
    chosen = request.selection
    stored = set(manifest.firm_to_chunk)
    wanted = stored if chosen.firm_ids is None else stored & set(chosen.firm_ids)
    n_tried = len(wanted) if chosen.limit is None else min(len(wanted), chosen.limit)
    if n_tried < len(stored):
        raise ConfigError(
            f"a refresh replaces {request.quarter} as a whole, and this one would end without at "
            f"least {len(stored) - n_tried} of the {len(stored)} firms stored; leave out --firms "
            "and --limit"
        )


def _is_same_request(found: Session, request: Request) -> bool:
    """Whether the command is the one that was killed, so that there is nothing more to do."""
    if found.kind != request.kind or request.options not in (None, found.options):
        return False
    if found.preprocessing != dict(request.preprocessing):
        return False
    # Which firms a preprocess takes follows from the manifest, which by now is its own.
    return found.kind == "preprocess" or found.selection.is_same_request(request.selection)


def _misfit(found: Session, request: Request, manifest: PrefetchManifest | None) -> FtmError | None:
    """Why the unfinished session cannot be taken up by this request; None: it can."""
    quarter = request.quarter
    if "preprocess" in (found.kind, request.kind) and found.kind != request.kind:
        return ConfigError(
            f"{quarter} has an unfinished {found.kind}; {_ways_out(found, quarter, manifest)}"
        )
    if request.kind == "refresh" and found.kind == "prefetch":
        return ConfigError(f"{quarter} has an unfinished prefetch")
    return (
        _unfinished_fingerprint_error(found, request, manifest)
        or _options_error_of(found, request, manifest)
        or _size_error(found, request, manifest)
    )


def _may_give_up(found: Session, request: Request) -> bool:
    if request.kind == "refresh":
        return True
    return request.kind == "preprocess" == found.kind


def fingerprint_error(
    stored: Mapping[str, str], wanted: Mapping[str, str], quarter: Quarter
) -> FingerprintMismatchError | None:
    """The error when chunks were made by another pipeline than the one at hand."""
    if dict(stored) == dict(wanted):
        return None
    return FingerprintMismatchError(
        f"{quarter} was preprocessed by another text pipeline ({_changes(stored, wanted)}); use "
        "that one (--nlp), redo the text without a login "
        f"(`ftm preprocess --quarter {quarter}`), or "
        f"read all anew (`ftm prefetch --quarter {quarter} --refresh`)"
    )


def _unfinished_fingerprint_error(
    found: Session, request: Request, manifest: PrefetchManifest | None
) -> FingerprintMismatchError | None:
    """The same for a session that is not finished."""
    if found.preprocessing == dict(request.preprocessing):
        return None
    return FingerprintMismatchError(
        f"{request.quarter} has an unfinished {found.kind} by another text pipeline "
        f"({_changes(found.preprocessing, request.preprocessing)}); finish it with that one "
        f"(--nlp){_or_drop(found, request.quarter, manifest)}"
    )


def _changes(stored: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    names = sorted(stored.keys() | wanted.keys())
    return "; ".join(
        f"{name} {stored.get(name)!r} there, {wanted.get(name)!r} here"
        for name in names
        if stored.get(name) != wanted.get(name)
    )


def options_error(
    stored: PlanChoice, wanted: PlanChoice | None, quarter: Quarter
) -> ConfigError | None:
    """The error when the plan was made with other options than those asked for."""
    if wanted in (None, stored):
        return None
    return ConfigError(
        f"the plan of {quarter} was made with {describe_options(stored)}, this asks for "
        f"{describe_options(wanted)}; leave these out, or add --refresh to make a new plan beside "
        "it"
    )


def _options_error_of(
    found: Session, request: Request, manifest: PrefetchManifest | None
) -> ConfigError | None:
    """The same for a session that is not finished."""
    if request.options in (None, found.options):
        return None
    return ConfigError(
        f"{request.quarter} has an unfinished {found.kind} with {describe_options(found.options)}, "
        f"this asks for {describe_options(request.options)}; "
        f"{_ways_out(found, request.quarter, manifest)}"
    )


def describe_options(options: PlanChoice) -> str:
    """As flags of `ftm prefetch`."""
    as_of = f" --as-of {options.as_of}" if options.as_of else ""
    return f"--calls {options.calls}{as_of} --linktypes {','.join(options.linktypes)}"


def _ways_out(found: Session, quarter: Quarter, manifest: PrefetchManifest | None) -> str:
    command = finishing_command(found, str(quarter))
    return f"finish it first: `{command}`{_or_drop(found, quarter, manifest)}"


def _or_drop(found: Session, quarter: Quarter, manifest: PrefetchManifest | None) -> str:
    """The other way out, and what it costs where nothing is published to fall back on."""
    if manifest is not None:
        return f", or give it up: `{GIVE_UP.format(quarter)}`"
    return f", or add --refresh, which drops the {counted(found.n_attempted, 'firm')} it has done"


def _size_error(
    found: Session, request: Request, manifest: PrefetchManifest | None
) -> ConfigError | None:
    if request.chunk_size in (None, found.chunk_size):
        return None
    return ConfigError(
        f"{request.quarter} has an unfinished {found.kind} with --chunk-size {found.chunk_size}, "
        f"this asks for --chunk-size {request.chunk_size}; "
        f"{_ways_out(found, request.quarter, manifest)}"
    )


def _with_selection(found: Session, wanted: Selection) -> Session:
    if found.selection.is_same_request(wanted):
        return found
    return found.changed(selection=wanted.model_copy(update={"after": found.n_taken}))


def _new_session(
    request: Request,
    options: PlanChoice,
    found: Session | None,
    manifest: PrefetchManifest | None,
    generations: Iterable[int],
    now: str,
) -> Session:
    generation = 1 if manifest is None else manifest.generation
    if request.kind == "prefetch":
        if manifest is not None and (
            problem := fingerprint_error(
                manifest.preprocessing, request.preprocessing, request.quarter
            )
        ):
            raise problem
    else:
        given_up = [] if found is None else [found.generation]
        published = [] if manifest is None else [manifest.generation]
        generation = 1 + max((*generations, *given_up, *published), default=0)
    return Session(
        kind=request.kind,
        generation=generation,
        created_at=now,
        n_parts=int(datetime.fromisoformat(now).timestamp()) * _PARTS_A_SECOND,
        options=options,
        preprocessing=dict(request.preprocessing),
        chunk_size=request.chunk_size or request.default_chunk_size,
        part_size=request.part_size,
        selection=request.selection,
        from_generation=manifest.generation if request.kind == "preprocess" and manifest else None,
    )

"""Which session a command works on: a new one, or an unfinished one it takes up. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ftm.connectors.discovery import PlanOptions
from ftm.core.errors import ConfigError, FingerprintMismatchError, FtmError
from ftm.core.quarter import Quarter
from ftm.prefetch.plan_file import plan_choice
from ftm.prefetch.publishing import is_published
from ftm.storage.checkpoint import Kind, PlanChoice, Selection, Session
from ftm.storage.manifest import PrefetchManifest

GIVE_UP = "ftm prefetch --quarter {} --give-up"
"""What to type to drop an unfinished session, with the quarter to be filled in."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a command asks for.

    Args:
        quarter: which.
        kind: of session, see storage.checkpoint.Session.
        options: of the plan.
        preprocessing: fingerprint of the text pipeline.
        chunk_size: firms tried per chunk.
        part_size: firms tried per part.
        selection: which firms.
    """

    quarter: Quarter
    kind: Kind
    options: PlanChoice
    preprocessing: Mapping[str, str]
    chunk_size: int
    part_size: int
    selection: Selection


@dataclass(frozen=True, slots=True)
class Opening:
    """The session to work on.

    Args:
        session: new, or taken up.
        is_new: nothing is in the checkpoint yet.
        is_over: everything was published; only the cleaning up is left.
        gives_up: the checkpoint holds another session, to be replaced once this one has a plan.
    """

    session: Session
    is_new: bool = False
    is_over: bool = False
    gives_up: bool = False


def open_session(
    request: Request,
    *,
    found: Session | None,
    manifest: PrefetchManifest | None,
    generations: Iterable[int],
    now: str,
    say: Callable[[str], None],
) -> Opening:
    """The session this request begins or takes up.

    Args:
        request: what is asked.
        found: the unfinished session of the checkpoint.
        manifest: published.
        generations: numbers that files in the store have already.
        now: ISO 8601, for a new session.
        say: told when an unfinished session is taken up or given up.

    Raises:
        FingerprintMismatchError: stored chunks were made by another text pipeline.
        ConfigError: an unfinished session has other options, or is of the other command; or a new
            generation would lack firms that the published one has.
    """
    quarter = request.quarter
    if found is not None and is_published(found, manifest):
        if _is_same_request(found, request):
            return Opening(found, is_over=True)
        found = None
    if found is not None:
        problem = _misfit(found, request, manifest)
        if problem is None:
            _check_takes_none_away(request, manifest, found.generation)
            say(f"{quarter}: taking up an unfinished {found.kind} ({found.n_attempted} firms done)")
            return Opening(_with_selection(found, request.selection))
        if not _may_give_up(found, request):
            raise problem
    session = _new_session(request, found, manifest, generations, now)
    _check_takes_none_away(request, manifest, session.generation)
    if found is not None:
        say(
            f"{quarter}: an unfinished {found.kind} is given up, as asked; what was published stays"
        )
    return Opening(session, is_new=True, gives_up=found is not None)


def _check_takes_none_away(
    request: Request, manifest: PrefetchManifest | None, generation: int
) -> None:
    """Refuse a selection that would publish fewer firms than are published now."""
    if manifest is None or manifest.generation == generation:
        return
    chosen = request.selection
    stored = manifest.firm_to_chunk.keys()
    if chosen.limit is None:
        left_out = set() if chosen.firm_ids is None else stored - set(chosen.firm_ids)
    else:
        left_out = set(stored)
    if left_out:
        raise ConfigError(
            f"a refresh replaces {request.quarter} as a whole, and this one might end without "
            f"{len(left_out)} of the {len(stored)} firms stored (like {min(left_out)}); "
            "leave out --firms and --limit"
        )


def _is_same_request(found: Session, request: Request) -> bool:
    """Whether the command is the one that was killed, so that there is nothing more to do."""
    if (found.kind, found.options) != (request.kind, request.options):
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
            f"{quarter} has an unfinished {found.kind}; finish it first: "
            f"`{finishing_command(found, quarter)}`{_or_give_up(quarter, manifest)}"
        )
    if request.kind == "refresh" and found.kind == "prefetch":
        return ConfigError(f"{quarter} has an unfinished prefetch")
    return (
        fingerprint_error(found.preprocessing, request.preprocessing, quarter)
        or options_error(found.options, request.options, quarter)
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
    names = sorted(stored.keys() | wanted.keys())
    changes = [
        f"{name} {stored.get(name)!r} there, {wanted.get(name)!r} here"
        for name in names
        if stored.get(name) != wanted.get(name)
    ]
    return FingerprintMismatchError(
        f"{quarter} was preprocessed by another text pipeline ({'; '.join(changes)}); use that "
        f"one (--nlp), redo the text without a login (`ftm preprocess --quarter {quarter}`), or "
        f"read all anew (`ftm prefetch --quarter {quarter} --refresh`)"
    )


def options_error(stored: PlanChoice, wanted: PlanChoice, quarter: Quarter) -> ConfigError | None:
    """The error when the plan was made with other options than those asked for."""
    if stored == wanted:
        return None
    return ConfigError(
        f"the plan of {quarter} was made with {_flags(stored)}, this asks for {_flags(wanted)}; "
        "repeat those, or add --refresh to make a new plan beside it"
    )


def _flags(options: PlanChoice) -> str:
    as_of = f" --as-of {options.as_of}" if options.as_of else ""
    return f"--calls {options.calls}{as_of} --linktypes {','.join(options.linktypes)}"


def finishing_command(found: Session, quarter: Quarter) -> str:
    """What to type to finish an unfinished session, with the options it must be given again."""
    size = f"--chunk-size {found.chunk_size}"
    if found.kind == "preprocess":
        return f"ftm preprocess --quarter {quarter} {size}"
    is_default = found.options == plan_choice(PlanOptions())
    flags = size if is_default else f"{_flags(found.options)} {size}"
    return f"ftm prefetch --quarter {quarter} {flags}"


def _or_give_up(quarter: Quarter, manifest: PrefetchManifest | None) -> str:
    """The other way out; there is none where nothing is published to fall back on."""
    return f", or give it up: `{GIVE_UP.format(quarter)}`" if manifest is not None else ""


def _size_error(
    found: Session, request: Request, manifest: PrefetchManifest | None
) -> ConfigError | None:
    if (found.chunk_size, found.part_size) == (request.chunk_size, request.part_size):
        return None
    return ConfigError(
        f"{request.quarter} has an unfinished {found.kind} with --chunk-size {found.chunk_size} "
        f"and FTM_PREFETCH_CHECKPOINT={found.part_size}; finish it with these, or add --refresh"
        f"{_or_give_up(request.quarter, manifest)}"
    )


def _with_selection(found: Session, wanted: Selection) -> Session:
    if found.selection.is_same_request(wanted):
        return found
    return found.changed(selection=wanted.model_copy(update={"after": found.n_attempted}))


def _new_session(
    request: Request,
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
        options=request.options,
        preprocessing=dict(request.preprocessing),
        chunk_size=request.chunk_size,
        part_size=request.part_size,
        selection=request.selection,
        from_generation=manifest.generation if request.kind == "preprocess" and manifest else None,
    )

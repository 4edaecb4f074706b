"""A run insists on its prefetch; it never reads WRDS instead."""

from __future__ import annotations

from ftm.core.errors import ManifestNotFoundError, OrchestratorError, PrefetchRequiredError
from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.storage.manifest import PrefetchManifest, load_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import read_calls


def require_manifest(store: ObjectStore, quarter: Quarter) -> PrefetchManifest:
    """The quarter's manifest.

    Raises:
        PrefetchRequiredError: there is none; says what to run.
    """
    try:
        return load_manifest(store, quarter)
    except ManifestNotFoundError as error:
        begun = store.exists(PrefetchLayout(quarter).checkpoint)
        what = "has only been prefetched in part" if begun else "is not prefetched"
        again = " again, it resumes" if begun else " on the workstation that reads WRDS"
        raise PrefetchRequiredError(
            f"{quarter} {what} into {store.url}; run `ftm prefetch --quarter {quarter}`{again}"
        ) from error


def check_complete(store: ObjectStore, manifest: PrefetchManifest, allow_partial: bool) -> None:
    """Refuse a quarter without sentences, and one prefetched in part unless that is allowed.

    Raises:
        OrchestratorError: no firm has sentences.
        PrefetchRequiredError: firms are missing that the plan keeps.
    """
    if not manifest.firm_to_chunk:
        raise OrchestratorError(
            f"{manifest.quarter} has no firm with sentences; "
            f"`ftm attrition --quarter {manifest.quarter}` says why"
        )
    if manifest.complete or allow_partial:
        return
    calls = read_calls(store, manifest)
    n_kept = calls.filter(calls["kept"]).num_rows
    n_known = manifest.n_firms + len(manifest.skipped) + len(manifest.failed)
    raise PrefetchRequiredError(
        f"{manifest.quarter} is prefetched only in part ({n_known} of {n_kept} firms); finish "
        f"it with `ftm prefetch --quarter {manifest.quarter}`, or run with "
        "--allow-partial-prefetch"
    )

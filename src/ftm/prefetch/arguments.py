"""What callers of a prefetch may leave out, or give in more than one shape."""

from __future__ import annotations

from ftm.core.errors import ConfigError
from ftm.core.settings import Settings
from ftm.prefetch.base import Preprocessor
from ftm.storage.object_store import ObjectStore, open_store


def as_store(given: str | ObjectStore) -> ObjectStore:
    """The store, or the one at this URL.

    Raises:
        ConfigError: the URL is not one of a store.
        StoreUnavailableError: its folder cannot be made.
    """
    if isinstance(given, ObjectStore):
        return given
    return open_store(given, endpoint_url=Settings.load().aws_endpoint_url)


def default_preprocessor() -> Preprocessor:
    """The built-in rules, on every core."""
    from ftm.text.parallel import ParallelPreprocessor  # loads spaCy

    return ParallelPreprocessor("rules")


def at_least_one(what: str, given: int | None) -> int | None:
    """The number as given.

    Raises:
        ConfigError: it is below 1.
    """
    if given is not None and given < 1:
        raise ConfigError(f"{what} is {given}; expected 1 or more")
    return given

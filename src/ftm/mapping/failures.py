"""Which errors end the batch, and how one firm's error is told without quoting its call."""

from __future__ import annotations

import traceback
from pathlib import PurePath

from ftm.core.errors import ConfigError, FtmError, ModelNotFoundError, StoreError
from ftm.core.records import FirmTranscriptData

FATAL = (ConfigError, ModelNotFoundError, StoreError, MemoryError)
"""What the next firm would meet as well; everything else is one firm's own failure."""

_MESSAGE_CHARS = 200
_QUOTE_CHARS = 24


def describe_failure(error: Exception, firm: FirmTranscriptData) -> str:
    """Type, message and place of a firm's error, on one line, for its progress record.

    Transcripts are licensed: a message that repeats 24 characters of the firm's sentences is
    withheld, so that no text ends in a log.
    """
    message = " ".join(str(error).split())[:_MESSAGE_CHARS]
    if _quotes(message, firm):
        message = "(message withheld: it quotes the transcript)"
    where = "" if isinstance(error, FtmError) else _place(error)
    return f"{type(error).__name__}: {message}{where}"


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _quotes(message: str, firm: FirmTranscriptData) -> bool:
    texts = "\n".join(
        " ".join(text.split()) for s in firm.sentences for text in (s.raw_text, s.cleaned_text)
    )
    windows = range(len(message) - _QUOTE_CHARS + 1)
    return any(message[start : start + _QUOTE_CHARS] in texts for start in windows)

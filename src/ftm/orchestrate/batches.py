"""Which firms go into which batch: pure, so the same manifest always gives the same batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftm.core.errors import ConfigError
from ftm.core.layout import batch_id
from ftm.core.quarter import Quarter
from ftm.storage.run_records import BatchLine

MAX_BATCHES = 10_000
"""Children of one AWS Batch array job:
https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html"""


def plan_batches(
    quarter: Quarter, chunks: Mapping[str, Sequence[str]], *, batch_size: int
) -> list[BatchLine]:
    """Split a quarter's firms into batches.

    A batch takes whole chunks until it holds at least `batch_size` firms, so that no two workers
    read the same chunk. A chunk larger than that is split into batches of `batch_size`; these
    never reach into another chunk.

    Args:
        quarter: names the batches.
        chunks: chunk file → its firms in row-group order; read in order of file name.
        batch_size: firms a batch should hold, at least 1.

    Returns:
        Batches in order; none for no firms. Every firm is in exactly one.

    Raises:
        ConfigError: batch_size below 1, or more than 10,000 batches.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size} cannot be used; it is at least 1")
    ordered = [list(chunks[file]) for file in sorted(chunks)]
    groups = _group(ordered, batch_size)
    if len(groups) > MAX_BATCHES:
        raise ConfigError(
            f"--batch-size {batch_size} makes {len(groups)} batches of {sum(map(len, groups))} "
            f"firms, and a stage holds at most {MAX_BATCHES}; "
            f"use --batch-size {_fitting_size(ordered, batch_size)}"
        )
    return [
        BatchLine(batch_id=batch_id(quarter, number), quarter=str(quarter), firm_ids=firms)
        for number, firms in enumerate(groups)
    ]


def _group(chunks: Sequence[list[str]], size: int) -> list[list[str]]:
    groups: list[list[str]] = []
    open_group: list[str] = []
    for firms in chunks:
        if open_group and (len(open_group) >= size or len(firms) > size):
            groups.append(open_group)
            open_group = []
        if len(firms) > size:
            groups += [firms[start : start + size] for start in range(0, len(firms), size)]
        else:
            open_group = open_group + firms
    return [*groups, open_group] if open_group else groups


def _fitting_size(chunks: Sequence[list[str]], size: int) -> int:
    while len(_group(chunks, size)) > MAX_BATCHES:
        size *= 2
    return size

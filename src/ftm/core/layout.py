"""Every key of the store, as pure functions. Keys are relative to the store's root."""

from __future__ import annotations

from dataclasses import dataclass

from ftm.core.quarter import Quarter

PREFETCH_ROOT = "prefetch/transcripts"
"""Folder of all prefetched quarters."""

PROCESSED_ROOT = "processed"
"""Folder of all quarters with tables."""

SERIES_ROOT = "series"
"""Folder of all linked quarters."""

ASSIGNED_ROOT = "assigned"
"""Folder of all quarters scored against the themes of another."""

RUN_MANIFEST = "prefetch.json.gz"
"""In a run's folder: its own copy of the prefetch manifest."""


@dataclass(frozen=True, slots=True)
class PrefetchLayout:
    """Keys of one prefetched quarter.

    Generation 1 lies in the quarter's folder, a refresh in `gen=0002/` beside it; the manifest,
    the checkpoint and the parts exist once per quarter. File names in the manifest are relative
    to `root`, so `chunk_0000.parquet` or `gen=0002/chunk_0000.parquet`.
    """

    quarter: Quarter

    @property
    def root(self) -> str:
        return f"prefetch/transcripts/quarter={self.quarter}"

    @property
    def manifest(self) -> str:
        return f"{self.root}/manifest.json"

    @property
    def checkpoint(self) -> str:
        """Resume state and lease of whoever writes the quarter."""
        return f"{self.root}/_checkpoint.json"

    @property
    def lock_name(self) -> str:
        """What messages and lock files call the right to write the quarter."""
        return f"prefetch of {self.quarter}"

    @property
    def parts(self) -> str:
        return f"{self.root}/_parts"

    def generation(self, number: int) -> str:
        """Prefix of file names of a generation, relative to root: empty or `gen=0002/`."""
        return "" if number == 1 else f"gen={number:04d}/"

    def key(self, file: str) -> str:
        """The key of a file the manifest names."""
        return f"{self.root}/{file}"

    def plan_file(self, generation: int) -> str:
        return f"{self.generation(generation)}calls.parquet"

    def chunk_file(self, generation: int, number: int) -> str:
        return f"{self.generation(generation)}chunk_{number:04d}.parquet"

    def components_file(self, generation: int, number: int) -> str:
        return f"{self.generation(generation)}components_{number:04d}.parquet"

    def chunk_part_file(self, generation: int, number: int) -> str:
        return f"_parts/gen={generation:04d}/chunk_part_{number:05d}.parquet"

    def components_part_file(self, generation: int, number: int) -> str:
        return f"_parts/gen={generation:04d}/components_part_{number:05d}.parquet"


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Keys of one run of a quarter."""

    quarter: Quarter
    run_id: str

    @property
    def root(self) -> str:
        return f"runs/{self.quarter}/{self.run_id}"

    @property
    def spec(self) -> str:
        return f"{self.root}/spec.json"

    @property
    def manifest(self) -> str:
        """The copy of the prefetch manifest this run reads."""
        return f"{self.root}/{RUN_MANIFEST}"

    @property
    def lease(self) -> str:
        """Who is carrying the run through; gone when nobody is (on `file://` a lock instead)."""
        return f"{self.root}/lease.json"

    @property
    def lock_name(self) -> str:
        """What messages and lock files call the right to carry the run through."""
        return f"run {self.run_id} of {self.quarter}"

    def jobs(self, stage: str, attempt: int) -> str:
        return f"{self.root}/jobs/{stage}_{attempt}.json"

    def outcome(self, stage: str, attempt: int) -> str:
        """How the attempt's jobs ended, written when the last of them did."""
        return f"{self.root}/jobs/{stage}_{attempt}.outcome.json"

    def batch_manifest(self, attempt: int) -> str:
        return f"manifests/{self.quarter}/{self.run_id}/map_{attempt}.jsonl"

    @property
    def progress_root(self) -> str:
        return f"progress/{self.quarter}/run={self.run_id}"

    def job_claim(self, stage: str, attempt: int) -> str:
        """Whose jobs work on an attempt; where workers may write, and no batch's record."""
        return f"{self.progress_root}/claims/{stage}_{attempt}"

    @property
    def model_claim(self) -> str:
        """What the first worker of the run computes with."""
        return f"{self.progress_root}/claims/model"

    def progress(self, batch_id: str) -> str:
        return f"{self.progress_root}/{batch_id}.json"

    def _part(self, dataset: str, batch_id: str, number: int) -> str:
        folder = f"intermediate/{dataset}/quarter={self.quarter}/run={self.run_id}"
        return f"{folder}/{batch_id}_part_{number:04d}.parquet"

    def firm_topics_part(self, batch_id: str, number: int) -> str:
        return self._part("firm-topics", batch_id, number)

    def firm_sentences_part(self, batch_id: str, number: int) -> str:
        return self._part("firm-sentences", batch_id, number)

    def stage_record(self, stage: str) -> str:
        """What a stage after map made, and of what; no batch's record, so no `.json`."""
        return f"{self.progress_root}/stages/{stage}"

    def stage_table(self, stage: str, table: str) -> str:
        """What stage reduce or name hands to the next; readers take what package makes of it."""
        return f"intermediate/{stage}/quarter={self.quarter}/run={self.run_id}/{table}.parquet"

    @property
    def processed_root(self) -> str:
        return f"processed/quarter={self.quarter}/run={self.run_id}"

    def processed(self, table: str, version: str = "") -> str:
        """A table of the run; `version` tells one that came later from the first, which stays."""
        name = f"{table}-{version}" if version else table
        return f"{self.processed_root}/{name}.parquet"

    @property
    def labels(self) -> str:
        """Names, merges and exclusions by hand."""
        return f"labels/quarter={self.quarter}/run={self.run_id}/theme_labels.csv"


def run_of_key(key: str) -> RunLayout:
    """The run that a key below `runs/` belongs to."""
    _, quarter, run_id = key.split("/")[:3]
    return RunLayout(Quarter.parse(quarter), run_id)


def batch_id(quarter: Quarter, number: int) -> str:
    """`2023Q1_batch_0000`."""
    return f"{quarter}_batch_{number:04d}"


def runs_root(quarter: Quarter) -> str:
    """Folder of all runs of a quarter."""
    return f"runs/{quarter}"


def current_pointer(quarter: Quarter) -> str:
    """The object that says which run is published."""
    return f"processed/quarter={quarter}/_current.json"


def sentiment_ready(quarter: Quarter) -> str:
    """The published run's sentences by theme, where programs outside ftm look for them."""
    return f"sentiment-ready/quarter={quarter}/themes_for_sentiment.parquet"


def cached_answer(request_sha256: str) -> str:
    """A language model's answer, by what it was asked."""
    return f"cache/llm/{request_sha256}.json"


def answer_packs(family: str) -> str:
    """Folder of the packs of answers to requests that share model and parameters."""
    return f"cache/llm/packs/{family}"


def answer_pack(family: str, sha256: str) -> str:
    """Many of these answers in one object, named by its bytes."""
    return f"{answer_packs(family)}/{sha256}.jsonl.gz"


def series_root(quarter: Quarter) -> str:
    """Folder of a linked quarter: `series.parquet`, `links.parquet` and, last, `link.json`."""
    return f"series/quarter={quarter}"


def assigned_root(quarter: Quarter, themes_from: Quarter) -> str:
    """Folder of a quarter's topics scored against the themes of an earlier one."""
    return f"assigned/quarter={quarter}/themes={themes_from}"


def assigned_pointer(quarter: Quarter, themes_from: Quarter) -> str:
    """The object that says what is current of a quarter with another one's themes."""
    return f"{assigned_root(quarter, themes_from)}/_current.json"

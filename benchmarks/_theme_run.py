"""A complete run of many firms, as map leaves it: what reduce, name and package start from.

Topics belong to planted themes of very different sizes, in sectors; a fifth belong to none. Words
are drawn by Zipf's law, of all and of the theme. Neighbouring words are drawn apart from each
other, which makes many more different pairs of words than people do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tests.support.business_firms import CALL_DATE, QUARTER
from tests.support.quarters import call_row, replace_plan
from tests.support.runs import make_lines, noop_settings, write_run

from ftm.core.layout import PrefetchLayout, RunLayout
from ftm.core.schemas import CHUNK, COMPONENTS, FIRM_SENTENCES, FIRM_TOPICS
from ftm.storage.manifest import FileEntry, PlanEntry, PrefetchManifest, Source
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import to_bytes
from ftm.storage.parquet_layout import write_firm_file
from ftm.storage.run_records import BatchProgress

CHUNK_FIRMS = 200
PART_FIRMS = 50
N_DIMS = 384
N_TOPICS = 15
N_SENTENCES = 400
"""Of a call; three quarters are in a topic, a tenth are outliers, the rest is not clustered."""
N_WORDS = 10
"""Of a cleaned sentence; as many stopwords more as spoken."""
N_TURNS = 20
N_THEMES, N_SECTORS = 150, 12
STRAY_SHARE = 0.2
VOCABULARY, THEME_WORDS, STOPWORDS = 60_000, 150, 150

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """What is the same for all firms.

    Args:
        words: the vocabulary, commonest first; after VOCABULARY come stopwords.
        chances: cumulative, of each word.
        theme_words: word ids by theme, commonest first, shape (N_THEMES, THEME_WORDS).
        theme_chances: cumulative, of these.
        sizes: chance of each theme.
        directions: of themes, shape (N_THEMES, N_DIMS).
        noise: standard deviation of a topic around its theme, by dimension.
        common: what all topics share.
    """

    words: pa.Array
    chances: Floats
    theme_words: Ints
    theme_chances: Floats
    sizes: Floats
    directions: Floats
    noise: Floats
    common: Floats


def make_world(seed: int = 0) -> World:
    """Themes, words and directions."""
    rng = np.random.default_rng([seed, 0])
    words = [f"word{_letters(n)}" for n in range(VOCABULARY)]
    words += [f"the{_letters(n)}" for n in range(STOPWORDS)]
    sizes = rng.gamma(1.2, size=N_THEMES) + 0.1
    # Vectors of a language model fill few of their dimensions: the noise falls as a power.
    noise = (1 + np.arange(N_DIMS) / 20) ** -0.8
    noise *= 0.9 / np.linalg.norm(noise)
    sectors = _units(rng.normal(size=(N_SECTORS, N_DIMS)) * noise)
    own = _units(rng.normal(size=(N_THEMES, N_DIMS)) * noise)
    themes = 0.5 * sectors[rng.integers(N_SECTORS, size=N_THEMES)] + 0.6 * own
    return World(
        words=pa.array(words),
        chances=_zipf(VOCABULARY),
        theme_words=np.stack(
            [rng.choice(20_000, THEME_WORDS, replace=False) for _ in range(N_THEMES)]
        ),
        theme_chances=_zipf(THEME_WORDS),
        sizes=sizes / sizes.sum(),
        directions=themes,
        noise=noise,
        common=0.4 * _units(rng.normal(size=(1, N_DIMS)))[0],
    )


def write_theme_run(store: ObjectStore, n_firms: int, *, seed: int = 0) -> RunLayout:
    """A prefetched quarter and a complete run over it, a chunk of firms in memory at a time."""
    world, layout = make_world(seed), PrefetchLayout(QUARTER)
    ids = [f"{100_000 + number}" for number in range(n_firms)]
    chunks, components, firm_to_chunk = {}, {}, {}
    made = list(_chunk_numbers(n_firms))
    for number, firms in made:
        file, other = layout.chunk_file(1, number), layout.components_file(1, number)
        block = _Block(world, firms, seed)
        chunks[file] = _put(store, layout.key(file), block.sentences(), CHUNK)
        components[other] = _put(store, layout.key(other), block.turns(), COMPONENTS)
        firm_to_chunk |= {ids[firm]: file for firm in firms}
    manifest = _manifest(firm_to_chunk, chunks, components, layout)
    rows = [call_row(firm, number=number) for number, firm in enumerate(ids)]
    manifest = replace_plan(store, manifest, rows)
    lines = make_lines(ids, batch_size=CHUNK_FIRMS, quarter=QUARTER)
    run = write_run(store, manifest, lines, run_id="bench", settings=noop_settings())
    for (_, firms), line in zip(made, lines, strict=True):
        parts = _put_parts(store, run, line.batch_id, _Block(world, firms, seed))
        progress = BatchProgress(
            batch_id=line.batch_id, parts=parts, done=line.firm_ids, complete=True
        )
        key = run.progress(line.batch_id)
        store.put(key, progress.encode(key))
    return run


def _chunk_numbers(n_firms: int) -> Iterator[tuple[int, range]]:
    for number, start in enumerate(range(0, n_firms, CHUNK_FIRMS)):
        yield number, range(start, min(start + CHUNK_FIRMS, n_firms))


def _put(store: ObjectStore, key: str, table: pa.Table, schema: pa.Schema) -> FileEntry:
    data, entry = write_firm_file(table, schema)
    store.put(key, data)
    return entry


def _put_parts(store: ObjectStore, run: RunLayout, batch: str, block: _Block) -> dict[str, str]:
    parts = {}
    for dataset, table, schema, name in (
        ("topics", block.topics(), FIRM_TOPICS, run.firm_topics_part),
        ("sentences", block.labels(), FIRM_SENTENCES, run.firm_sentences_part),
    ):
        per_firm = N_TOPICS if dataset == "topics" else N_SENTENCES
        for part, start in enumerate(range(0, table.num_rows, PART_FIRMS * per_firm)):
            data = to_bytes(table.slice(start, PART_FIRMS * per_firm), schema)
            store.put(name(batch, part), data)
            parts[name(batch, part)] = sha256(data).hexdigest()
    return parts


class _Block:
    """Tables of some firms; the same each time it is made."""

    def __init__(self, world: World, firms: range, seed: int) -> None:
        self._world, self._n = world, len(firms)
        self._numbers = np.array(firms, np.int64)
        self._rng = rng = np.random.default_rng([seed, 1, firms.start])
        n = len(firms) * N_TOPICS
        themes = rng.choice(N_THEMES, n, p=world.sizes)
        self._themes = np.where(rng.random(n) < STRAY_SHARE, -1, themes)
        weights = rng.gamma(4.0, size=(len(firms), N_TOPICS))
        weights = 0.75 * weights / weights.sum(axis=1, keepdims=True)
        self._local = np.stack([self._labels_of(row) for row in weights])
        self._ids = _ids(self._numbers)

    def _labels_of(self, weights: Floats) -> Ints:
        """Local topic of each sentence: -1 an outlier, -2 not clustered; each topic has one."""
        labels = np.r_[np.arange(N_TOPICS), -1, -2]
        drawn = self._rng.choice(labels, N_SENTENCES - N_TOPICS, p=[*weights, 0.1, 0.15])
        return self._rng.permutation(np.r_[np.arange(N_TOPICS), drawn])

    def _head(self, repeats: int) -> dict[str, pa.Array]:
        n = np.repeat(self._numbers, repeats)
        return {
            "firm_id": _text(100_000 + n),
            "firm_name": pc.binary_join_element_wise("Firm", _text(n), " "),
            "permno": pa.array(10_000 + n),
            "gvkey": _text(n, width=6),
            "transcript_id": _text(900_000 + n),
            "earnings_call_date": pa.repeat(pa.scalar(CALL_DATE, pa.date32()), len(n)),
            "quarter": pa.repeat(pa.scalar(str(QUARTER)), len(n)),
        }

    def sentences(self) -> pa.Table:
        """Schema CHUNK."""
        n = self._n * N_SENTENCES
        raw, cleaned = self._texts()
        found = self._head(N_SENTENCES) | {
            "sentence_id": self._ids,
            "raw_text": raw,
            "cleaned_text": cleaned,
            "speaker_type": pa.array(np.where(self._turn() % 3 == 1, "Analysts", "Executives")),
            "position": pa.array(np.tile(np.arange(N_SENTENCES, dtype=np.int32), self._n)),
        }
        assert len(raw) == n
        return pa.table({name: found[name] for name in CHUNK.names})

    def _turn(self) -> Ints:
        return np.tile(np.arange(N_SENTENCES) * N_TURNS // N_SENTENCES, self._n)

    def _texts(self) -> tuple[pa.Array, pa.Array]:
        rng = np.random.default_rng([2, int(self._numbers[0])])
        shape = (self._n * N_SENTENCES, N_WORDS)
        world = self._world
        ids = np.searchsorted(world.chances, rng.random(shape))
        topic = self._topic_rows()
        theme = np.where(topic >= 0, self._themes[topic], -1)
        own = (rng.random(shape) < 0.3) & (theme >= 0)[:, None]
        place = np.searchsorted(world.theme_chances, rng.random(shape))
        ids = np.where(own, world.theme_words[theme[:, None], place], ids)
        stop = VOCABULARY + rng.integers(STOPWORDS, size=shape)
        spoken = np.stack([stop, ids], axis=2).reshape(shape[0], -1)
        return _joined(world.words, spoken), _joined(world.words, ids)

    def _topic_rows(self) -> Ints:
        """Row of the topic of each sentence in the block's topics; -1 for none."""
        local = self._local.ravel()
        firm = np.repeat(np.arange(self._n), N_SENTENCES)
        return np.where(local >= 0, firm * N_TOPICS + local, -1)

    def turns(self) -> pa.Table:
        """Schema COMPONENTS: the first half is presented."""
        raw = self.sentences()["raw_text"].combine_chunks()
        step = N_SENTENCES // N_TURNS
        offsets = np.arange(0, len(raw) + 1, step, dtype=np.int32)
        order = np.tile(np.arange(N_TURNS, dtype=np.int32), self._n)
        found = self._head(N_TURNS) | {
            "component_order": pa.array(order),
            "component_type": pa.repeat("Answer", len(order)),
            "section": pa.array(np.where(order < N_TURNS // 2, "presentation", "qa")),
            "person_id": _text(order),
            "speaker_name": pc.binary_join_element_wise("Ann", _text(order), " "),
            "speaker_type": pa.array(np.where(order % 3 == 1, "Analysts", "Executives")),
            "raw_text": pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), raw), " "),
            "first_position": pa.array(order * step),
            "last_position": pa.array(order * step + step - 1),
        }
        return pa.table({name: found[name] for name in COMPONENTS.names})

    def topics(self) -> pa.Table:
        """Schema FIRM_TOPICS."""
        rows = self._topic_rows()
        members = np.argsort(rows, kind="stable")[int((rows < 0).sum()) :]
        sizes = np.bincount(rows[rows >= 0], minlength=len(self._themes))
        offsets = pa.array(np.r_[0, np.cumsum(sizes)].astype(np.int32))
        local = np.tile(np.arange(N_TOPICS, dtype=np.int32), self._n)
        words = self._world.theme_words[self._themes][:, :10]
        head = self._head(N_TOPICS)
        representation = _joined(self._world.words, words[:, :4])
        flat = self._world.words.take(pa.array(words.ravel()))
        ends = pa.array(np.arange(0, words.size + 1, 10, dtype=np.int32))
        vectors = self._centroids().astype(np.float32)
        starts = pa.array(np.arange(0, vectors.size + 1, N_DIMS, dtype=np.int32))
        when = pa.scalar(datetime(2023, 4, 3, 12, tzinfo=UTC), pa.timestamp("us", tz="UTC"))
        found = head | {
            "topic_id": pc.binary_join_element_wise(head["firm_id"], _text(local), "_"),
            "local_topic_id": pa.array(local),
            "representation": representation,
            "summary": representation,
            "naming_method": pa.repeat("keywords", len(local)),
            "keywords": pa.ListArray.from_arrays(ends, flat),
            "n_sentences": pa.array(sizes.astype(np.int32)),
            "sentence_ids": pa.ListArray.from_arrays(offsets, self._ids.take(pa.array(members))),
            "centroid": pa.ListArray.from_arrays(starts, pa.array(vectors.ravel())),
            "processing_timestamp": pa.repeat(when, len(local)),
        }
        return pa.table({name: found[name] for name in FIRM_TOPICS.names})

    def _centroids(self) -> Floats:
        rng = np.random.default_rng([3, int(self._numbers[0])])
        world, n = self._world, len(self._themes)
        own = _units(rng.normal(size=(n, N_DIMS)) * world.noise)
        firm = np.repeat(_units(rng.normal(size=(self._n, N_DIMS)) * world.noise), N_TOPICS, 0)
        theme = np.where((self._themes >= 0)[:, None], world.directions[self._themes], 0.0)
        return world.common + theme + 0.9 * own + 0.3 * firm

    def labels(self) -> pa.Table:
        """Schema FIRM_SENTENCES."""
        local = self._local.ravel()
        clustered = local > -2
        found = {
            "sentence_id": self._ids,
            "firm_id": _text(100_000 + np.repeat(self._numbers, N_SENTENCES)),
            "local_topic_id": pa.array(local.astype(np.int32), mask=~clustered),
            "probability": pa.array((local >= 0).astype(np.float32), mask=~clustered),
            "kind": pa.array(np.where(clustered, "content", "procedural")),
        }
        return pa.table({name: found[name] for name in FIRM_SENTENCES.names})


def _manifest(
    firm_to_chunk: dict[str, str],
    chunks: dict[str, FileEntry],
    components: dict[str, FileEntry],
    layout: PrefetchLayout,
) -> PrefetchManifest:
    return PrefetchManifest(
        quarter=str(QUARTER),
        created_at="2026-01-02T03:04:05+00:00",
        n_firms=len(firm_to_chunk),
        n_chunks=len(chunks),
        chunk_sizes={file: sum(f == file for f in firm_to_chunk.values()) for file in chunks},
        firm_to_chunk=firm_to_chunk,
        generation=1,
        complete=True,
        n_sentences=len(firm_to_chunk) * N_SENTENCES,
        chunks=chunks,
        components=components,
        plan=PlanEntry(file=layout.plan_file(1), sha256=""),
        skipped={},
        failed={},
        preprocessing={"pipeline": "none", "text_version": "0"},
        source=Source(
            host="localhost",
            database="wrds",
            tables={},
            query_sha256="0" * 64,
            link_vintage=None,
            extracted_at="2026-01-02T03:04:05+00:00",
        ),
        ftm_version="0.1.0",
    )


def _ids(numbers: Ints) -> pa.Array:
    firm = np.repeat(numbers, N_SENTENCES)
    position = np.tile(np.arange(N_SENTENCES), len(numbers))
    return pc.binary_join_element_wise(
        _text(100_000 + firm), _text(900_000 + firm), _text(position, width=4), "_"
    )


def _text(numbers: npt.NDArray[np.integer], *, width: int = 1) -> pa.Array:
    return pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), width, padding="0")


def _joined(words: pa.Array, ids: Ints) -> pa.Array:
    offsets = pa.array(np.arange(0, ids.size + 1, ids.shape[1], dtype=np.int32))
    flat = words.take(pa.array(ids.ravel()))
    return pc.binary_join(pa.ListArray.from_arrays(offsets, flat), " ")


def _zipf(n: int) -> Floats:
    chances = 1 / (np.arange(n) + 3.0)
    return np.minimum(np.cumsum(chances) / chances.sum(), 1 - 1e-12)


def _letters(number: int) -> str:
    """Digits as letters: words have no digits."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _units(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))

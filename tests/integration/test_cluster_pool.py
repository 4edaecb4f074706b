"""The pool of clustering processes: same results as inline, and what happens when one dies."""

import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ftm.core.errors import TopicModelError
from ftm.topics.base import FloatArray
from ftm.topics.bertopic_model import BERTopicModel
from ftm.topics.pool import ClusterPool
from tests.support.topic_vectors import (
    OnceSentModel,
    ScriptedModel,
    same,
    uneven_firms,
)

Firm = tuple[list[str], FloatArray]


def order(word: str) -> Firm:
    """A firm that tells its worker what to do."""
    return [word], np.zeros((1, 8), np.float32)


@pytest.fixture
def scripted() -> Iterator[ClusterPool]:
    """Two workers that obey."""
    with ClusterPool(ScriptedModel(), workers=2) as pool:
        yield pool


@pytest.mark.parametrize("clustering", ["ward", "leiden"])
def test_a_pool_gives_the_bits_of_an_inline_fit(clustering: str) -> None:
    """Any order, any neighbours, one worker or three: the same firm, the same bits."""
    model = BERTopicModel(clustering)
    given = uneven_firms(6)
    inline = [model.fit_transform(*firm) for firm in given]
    for workers in (1, 3):
        shuffled = random.Random(workers).sample(range(6), 6)
        with ClusterPool(model, workers=workers) as pool:
            futures = {i: pool.submit(*given[i]) for i in shuffled}
            assert all(same(futures[i].result(60), inline[i]) for i in range(6))


COMPILING = """
import os, pickle, signal, sys, threading
from ftm.topics.bertopic_model import BERTopicModel
from ftm.topics.pool import ClusterPool
from tests.support.topic_vectors import uneven_firms

if __name__ == "__main__":
    os.setpgrp()
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    threading.Timer(2.0, lambda: os.killpg(0, signal.SIGINT)).start()
    with ClusterPool(BERTopicModel("umap-hdbscan"), workers=2) as pool:
        futures = [pool.submit(*firm) for firm in reversed(uneven_firms(3))][::-1]
        results = [future.result(200) for future in futures]
    assert heard
    pickle.dump(results, sys.stdout.buffer)
"""


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.xdist_group("models")
def test_umap_in_a_pool_gives_the_bits_of_an_inline_fit(tmp_path: Path) -> None:
    """The classic too, compiled once in the forkserver, which hears no Ctrl-C meanwhile.

    That reaches the whole process group; the forkserver would else end with a traceback.
    """
    script = tmp_path / "compiling.py"
    script.write_text(COMPILING)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=280,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    results = pickle.loads(done.stdout)
    model = BERTopicModel("umap-hdbscan")
    firms = uneven_firms(3)
    assert all(same(a, model.fit_transform(*firm)) for a, firm in zip(results, firms, strict=True))


SECOND_POOL = """
import numpy as np
from ftm.topics.bertopic_model import BERTopicModel
from ftm.topics.pool import ClusterPool

for clustering in ("ward", "umap-hdbscan"):
    with ClusterPool(BERTopicModel(clustering), workers=1) as pool:
        vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
        pool.submit(["a b"] * 40, vectors).result(200)
"""


@pytest.mark.slow
def test_a_process_with_a_umap_pool_ends_without_a_word() -> None:
    """Also when its forkserver was started for another model, so that each worker compiles."""
    ended = subprocess.run(
        [sys.executable, "-c", SECOND_POOL], capture_output=True, text=True, timeout=280, check=True
    )
    assert (ended.stdout, ended.stderr) == ("", "")


def test_a_dead_worker_costs_one_firm(scripted: ClusterPool) -> None:
    """The firm it died of raises TopicModelError; those before, beside and after are done."""
    texts, vectors = ["a b"] * 40, np.ones((40, 8), np.float32)
    before = [scripted.submit(texts, vectors) for _ in range(3)]
    dead = scripted.submit(*order("die"))
    after = [scripted.submit(texts, vectors) for _ in range(5)]
    with pytest.raises(TopicModelError, match=r"worker died \(exit code -9\).*1 sentences"):
        dead.result(60)
    assert all(len(future.result(60).topics) == 2 for future in before + after)


def test_every_worker_may_die(scripted: ClusterPool) -> None:
    """As many deaths as you like; the pool goes on."""
    deaths = [scripted.submit(*order("die")) for _ in range(4)]
    assert all(isinstance(death.exception(60), TopicModelError) for death in deaths)
    assert scripted.submit([], np.zeros((0, 8), np.float32)).result(60).topics == ()


def test_without_workers_nobody_waits_for_ever() -> None:
    """Workers that cannot be started again: theirs, queued and later firms all raise."""
    with ClusterPool(OnceSentModel(2), workers=2) as pool:
        futures = [pool.submit(*order("die")) for _ in range(6)]
        errors = [future.exception(60) for future in futures]
        assert all(isinstance(error, TopicModelError) for error in errors)
        assert sum("exit code -9" in str(error) for error in errors) == 2
        with pytest.raises(TopicModelError, match="none could be started again"):
            pool.submit(["a"] * 20, np.ones((20, 8), np.float32)).result(60)


def test_the_last_worker_goes_on_alone() -> None:
    """One worker lost for good costs no firm but the one it died of."""
    with ClusterPool(OnceSentModel(2), workers=2) as pool:
        assert isinstance(pool.submit(*order("die")).exception(60), TopicModelError)
        texts, vectors = ["a b"] * 40, np.ones((40, 8), np.float32)
        futures = [pool.submit(texts, vectors) for _ in range(4)]
        assert [len(future.result(60).topics) for future in futures] == [2] * 4


def test_closing_while_workers_die_leaves_no_process() -> None:
    """A worker that dies while the pool is closed is not started again behind its back."""
    before = {child.pid for child in multiprocessing.active_children()}
    for _ in range(5):
        pool = ClusterPool(ScriptedModel(), workers=2)
        futures = [pool.submit(*order("die")) for _ in range(8)]
        pool.close()
        assert all(f.cancelled() or isinstance(f.exception(60), TopicModelError) for f in futures)
        assert {child.pid for child in multiprocessing.active_children()} <= before


def test_an_error_reaches_its_future_alone(scripted: ClusterPool) -> None:
    """What the model raised is raised here, with its type; the worker lives."""
    with pytest.raises(TopicModelError, match="told to fail"):
        scripted.submit(*order("fail")).result(60)
    with pytest.raises(ValueError, match="2 documents but 3"):
        scripted.submit(["a", "b"], np.zeros((3, 8), np.float32)).result(60)


def test_workers_leave_ctrl_c_to_their_parent(scripted: ClusterPool) -> None:
    """SIGINT, which a terminal sends to the whole group, stops no worker."""
    pid = int(scripted.submit(*order("pid")).result(60).assignments[0])
    os.kill(pid, signal.SIGINT)
    pids = {int(scripted.submit(*order("pid")).result(60).assignments[0]) for _ in range(8)}
    assert len(pids) <= 2
    os.kill(pid, 0)  # still there


def test_close_does_not_wait_for_work() -> None:
    """Closing ends busy workers at once; what was not done is an error or cancelled."""
    pool = ClusterPool(ScriptedModel(), workers=1)
    pid = int(pool.submit(*order("pid")).result(60).assignments[0])
    busy, waiting = pool.submit(*order("sleep")), pool.submit(*order("sleep"))
    while not busy.running():
        time.sleep(0.01)
    started = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - started < 30
    assert isinstance(busy.exception(10), TopicModelError)
    assert waiting.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(*order("pid"))


def test_a_pool_needs_a_worker() -> None:
    """Zero workers would wait for ever."""
    with pytest.raises(ValueError, match="workers 0"):
        ClusterPool(ScriptedModel(), workers=0)

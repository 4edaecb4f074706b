"""ParallelPreprocessor with real worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftm.core.errors import ConfigError, ModelNotFoundError, PreprocessingError
from ftm.core.records import FirmTurns
from ftm.text.parallel import LOOK_AHEAD_CHARS, LOOK_AHEAD_FIRMS, ParallelPreprocessor
from ftm.text.pipelines import load_pipeline
from tests.support.calls import CALL, firm, firms_that_grew, text_of, text_or_death, turn

FIRMS = [
    firm(f"Organic growth in region {n} was strong.", turn(f"Freight costs fell {n}%."),
         firm_id=str(n))
    for n in range(60)
] + [CALL, firm(firm_id="empty")]  # fmt: skip


@pytest.fixture(scope="module")
def parallel() -> Iterator[ParallelPreprocessor]:
    """Two workers, started once for this module."""
    with ParallelPreprocessor("rules", 2) as preprocessor:
        yield preprocessor


def test_workers_change_nothing(parallel: ParallelPreprocessor) -> None:
    """Two processes give what the pipeline gives here, in the same order."""
    pipeline = load_pipeline("rules")
    expected = [pipeline.process(one) for one in FIRMS]
    assert list(parallel.map(FIRMS, text_of)) == expected
    with ParallelPreprocessor("rules", 1) as alone:
        assert list(alone.map(FIRMS, text_of)) == expected
    assert parallel.fingerprint == pipeline.fingerprint


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_firm_does_not_stop_the_others(
    parallel: ParallelPreprocessor, workers: int
) -> None:
    """It comes back with its error, in its place."""
    bad = firm(turn(None), firm_id="bad")  # type: ignore[arg-type]
    with ParallelPreprocessor("rules", 1) as alone:
        used = alone if workers == 1 else parallel
        before, broken, after = used.map([FIRMS[0], bad, FIRMS[1]], text_of)
    assert broken.firm_id == "bad"
    assert broken.error is not None
    assert "transcript '99'" in broken.error
    assert before.error is after.error is None


def test_the_source_is_read_only_a_little_ahead(parallel: ParallelPreprocessor) -> None:
    """Memory stays bounded: a quarter is never pulled in at once, but some firms always wait."""
    taken: list[str] = []

    def source() -> Iterator[FirmTurns]:
        for n in range(500):
            taken.append(str(n))
            yield firm("Organic growth was strong.", firm_id=str(n))

    results = parallel.map(source(), text_of)
    assert next(results).firm_id == "0"
    assert 2 < len(taken) <= 2 * LOOK_AHEAD_FIRMS + LOOK_AHEAD_FIRMS // 2
    results.close()  # type: ignore[attr-defined]


def test_long_calls_are_read_even_less_ahead(parallel: ParallelPreprocessor) -> None:
    """Characters count too: a few huge calls fill what may be under way."""
    taken: list[str] = []
    blank = " " * (LOOK_AHEAD_CHARS // 4)

    def source() -> Iterator[FirmTurns]:
        for n in range(2 * LOOK_AHEAD_FIRMS):
            taken.append(str(n))
            yield firm(blank, firm_id=str(n))

    results = parallel.map(source(), text_of)
    assert next(results).skip_reason == "no_text"
    assert len(taken) == 5
    results.close()  # type: ignore[attr-defined]


def test_the_fingerprint_alone_starts_no_worker() -> None:
    """A prefetch with nothing pending asks for nothing else."""
    preprocessor = ParallelPreprocessor("rules", 2)
    assert preprocessor.fingerprint["pipeline"] == "rules"
    assert preprocessor.worker_pids == ()
    assert len(list(preprocessor.map(FIRMS[:2], text_of))) == 2
    assert len(preprocessor.worker_pids) == 2
    preprocessor.close()


def test_no_firm_is_fine(parallel: ParallelPreprocessor) -> None:
    """Nothing in, nothing out."""
    assert list(parallel.map([], text_of)) == []


def test_workers_killed_from_outside_are_replaced() -> None:
    """As when somebody ends them by mistake: no firm is lost, failed or out of its place."""
    with ParallelPreprocessor("rules", 2) as preprocessor:
        ours = preprocessor.map(FIRMS * 20, text_of)
        made = [next(ours)]
        for pid in preprocessor.worker_pids:
            os.kill(pid, signal.SIGKILL)
        made += ours
        assert len(preprocessor.worker_pids) == 2
    assert [text.firm_id for text in made] == [one.call.firm_id for one in FIRMS * 20]
    assert {text.error for text in made} == {None}


def test_a_firm_that_kills_its_worker_fails_alone() -> None:
    """Its error names it; all others have their sentences, in order, and little is read ahead."""
    ids = ["oom1", *map(str, range(100)), "crash2"]
    taken: list[str] = []
    failed: dict[str, str] = {}

    def source() -> Iterator[FirmTurns]:
        for one in firms_that_grew(ids):
            taken.append(one.call.firm_id)
            yield one

    with ParallelPreprocessor("rules", 2) as preprocessor:
        for n_made, text in enumerate(preprocessor.map(source(), text_or_death), start=1):
            assert text.firm_id == ids[n_made - 1]
            assert len(taken) - n_made <= 2 * LOOK_AHEAD_FIRMS + LOOK_AHEAD_FIRMS // 2
            assert (text.error is None) == bool(text.sentences)
            if text.error is not None:
                failed[text.firm_id] = text.error
    assert n_made == len(ids)
    assert list(failed) == ["oom1", "crash2"]
    assert all(f"Firm '{firm_id}', transcript" in error for firm_id, error in failed.items())


def test_many_deadly_firms_in_a_row_stop_with_the_fix() -> None:
    """Those before are recorded; at the third in a row the message names the flag to lower."""
    ids = ["crash1", "fine", "crash2", "oom3", "crash4", "never"]
    made: list[str] = []
    with ParallelPreprocessor("rules", 2) as preprocessor:
        texts = preprocessor.map(firms_that_grew(ids), text_or_death)
        made += (next(texts).firm_id for _ in range(4))
        with pytest.raises(PreprocessingError, match=r"'crash2', 'oom3', 'crash4' .*--workers 1"):
            next(texts)
    assert made == ids[:4]


def test_a_closed_preprocessor_can_be_used_again() -> None:
    """It starts new workers, and closing twice is fine."""
    with ParallelPreprocessor("rules", 2) as preprocessor:
        first = list(preprocessor.map(FIRMS[:3], text_of))
    preprocessor.close()
    assert preprocessor.worker_pids == ()
    assert list(preprocessor.map(FIRMS[:3], text_of)) == first
    assert len(preprocessor.worker_pids) == 2
    preprocessor.close()


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    """Its workers run the script again; both they and the script name the missing line."""
    script = tmp_path / "mine.py"
    script.write_text(
        "from ftm.text.parallel import ParallelPreprocessor\n"
        "from tests.support.calls import CALL, text_of\n"
        "with ParallelPreprocessor('rules', 2) as preprocessor:\n"
        "    print(list(preprocessor.map([CALL] * 9, text_of)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    *_, last = done.stderr.strip().splitlines()
    assert 'a missing `if __name__ == "__main__":`' in last
    assert 'ConfigError: This script has no `if __name__ == "__main__":`' in done.stderr


@pytest.mark.parametrize("workers", [0, -1])
def test_workers_must_be_positive(workers: int) -> None:
    """The value and what was expected are named."""
    with pytest.raises(ConfigError, match="expected 1 or more"):
        ParallelPreprocessor("rules", workers)


def test_an_unknown_model_is_found_at_once() -> None:
    """No worker is left behind, and the message is that of the model, not of a broken pool."""
    with pytest.raises(ModelNotFoundError, match="spacy download"):
        ParallelPreprocessor("en_nothing_sm", 2)


@pytest.mark.slow
def test_workers_leave_with_a_killed_parent() -> None:
    """SIGKILL of the prefetch leaves no process behind."""
    code = (
        "import time\n"
        "from ftm.text.parallel import ParallelPreprocessor\n"
        "if __name__ == '__main__':\n"
        "    p = ParallelPreprocessor('rules', 2)\n"
        "    p.start()\n"
        "    print(*p.worker_pids, flush=True)\n"
        "    list(p.map([], print)); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(map(_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_alive, workers))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123  a zombie nobody reaped is not alive
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"

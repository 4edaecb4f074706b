"""Processes that cluster firms side by side, started from a forkserver."""

from __future__ import annotations

import logging
import multiprocessing
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from types import TracebackType

from ftm.core.errors import TopicModelError
from ftm.topics.base import FloatArray, TopicModel, TopicModelResult

log = logging.getLogger(__name__)

JOIN_TIMEOUT_S = 5.0

_Job = tuple[Future[TopicModelResult], Sequence[str], FloatArray]


class ClusterPool:
    """A pool of clustering processes; meets `TopicPool`.

    Forking this process is no option: after torch or OpenMP a forked child dies, after obstore it
    hangs. A forkserver starts clean, imports the model's preload modules once and forks from there.

    Each worker has a thread here that hands it one firm at a time, so a worker that dies is known
    to have died of that firm: the firm's future raises TopicModelError and a new worker starts.
    Where none can be started, the others go on; after the last, every future raises.

    Args:
        model: sent to every worker by pickle.
        workers: processes, at least one.
    """

    def __init__(self, model: TopicModel, *, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers {workers!r}: at least one is needed")
        context = ForkServerContext()
        context.set_forkserver_preload(list(model.preload))
        # First, for starting it would let interrupts through again.
        resource_tracker.ensure_running()
        with _interrupts_held():
            forkserver.ensure_running()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        # Held while work is added, a worker replaced or the pool closed: one at a time.
        self._lock = threading.RLock()
        self._n_alive = workers
        self._workers = [_Worker(context, model) for _ in range(workers)]
        self._threads = [
            threading.Thread(target=self._feed, args=(worker,), daemon=True, name=f"cluster-{i}")
            for i, worker in enumerate(self._workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, documents: Sequence[str], embeddings: FloatArray) -> Future[TopicModelResult]:
        """See TopicPool.

        Raises:
            RuntimeError: the pool is closed.
        """
        future: Future[TopicModelResult] = Future()
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("the cluster pool is closed")
            if self._n_alive:
                self._jobs.put((future, documents, embeddings))
            else:
                future.set_exception(_no_worker_left())
        return future

    def close(self) -> None:
        """See TopicPool; futures of unfinished fits are cancelled. May be called twice."""
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
            for worker in self._workers:
                worker.stop()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)

    def __enter__(self) -> ClusterPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _feed(self, worker: _Worker) -> None:
        while (job := self._jobs.get()) is not None:
            future = job[0]
            if self._closed.is_set():
                future.cancel()
            elif future.set_running_or_notify_cancel() and not self._fit(worker, job):
                return

    def _fit(self, worker: _Worker, job: _Job) -> bool:
        """Fit one firm; False when the worker died and there is none in its place."""
        future, documents, embeddings = job
        try:
            result = worker.fit(documents, embeddings)
        except _WorkerDiedError as death:
            # First of all, so that nothing that goes wrong below leaves somebody waiting.
            future.set_exception(
                TopicModelError(
                    f"a clustering worker died (exit code {death.exit_code}) on a firm of "
                    f"{len(documents)} sentences; rerun the command to try the firm again"
                )
            )
            return self._replace(worker)
        except Exception as error:  # noqa: BLE001 - a future carries any error to its reader
            future.set_exception(error)
        else:
            future.set_result(result)
        return True

    def _replace(self, worker: _Worker) -> bool:
        with self._lock:
            if self._closed.is_set():
                return True  # its thread goes on to cancel what is queued
            try:
                worker.restart()
            except Exception:
                log.exception("a clustering worker cannot be started again")
                self._n_alive -= 1
                if not self._n_alive:
                    self._fail_queued()
                return False
            return True

    def _fail_queued(self) -> None:
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None and job[0].set_running_or_notify_cancel():
                job[0].set_exception(_no_worker_left())


def _no_worker_left() -> TopicModelError:
    return TopicModelError(
        "all clustering workers died and none could be started again (see the log); free memory "
        "or processes and rerun the command"
    )


class _WorkerDiedError(Exception):
    def __init__(self, exit_code: int | None) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, context: ForkServerContext, model: TopicModel) -> None:
        self._context = context
        self._model = model
        self._process: BaseProcess
        self._pipe: Connection
        self._start()

    def fit(self, documents: Sequence[str], embeddings: FloatArray) -> TopicModelResult:
        """Fit in the worker; raises what the model raised, or _WorkerDiedError."""
        try:
            self._pipe.send((list(documents), embeddings))
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(JOIN_TIMEOUT_S)
            raise _WorkerDiedError(self._process.exitcode) from error
        if isinstance(answer, BaseException):
            raise answer
        return _result(answer)

    def restart(self) -> None:
        """Replace a dead process."""
        self._pipe.close()
        self._start()

    def stop(self) -> None:
        """End the process, busy or not."""
        self._process.terminate()
        self._process.join(JOIN_TIMEOUT_S)

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._model), daemon=True, name="ftm-cluster"
        )
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._pipe, self._process = ours, process


def _result(answer: object) -> TopicModelResult:
    if not isinstance(answer, TopicModelResult):
        raise TypeError(f"a clustering worker answered {type(answer).__name__}")
    return answer


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """For a process started inside, Ctrl-C is never; here it comes a moment later.

    The forkserver compiles for seconds before it ignores Ctrl-C, and would die of it noisily.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, model: TopicModel) -> None:
    """A worker's life: one firm after the other, until its parent is gone."""
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Numba and tqdm, on first use, make a lock of the default context. One of a forkserver's, which
    # a worker begins with, is a named semaphore: it would outlive the worker, which is terminated,
    # and the resource tracker would complain. One of fork's has no name. Nothing is forked here.
    multiprocessing.set_start_method("fork", force=True)
    while True:
        try:
            documents, embeddings = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: object = model.fit_transform(documents, embeddings)
        except Exception as error:  # noqa: BLE001 - the parent raises it for this firm
            answer = error
        try:
            pipe.send(answer)
        except (BrokenPipeError, ConnectionError):
            return

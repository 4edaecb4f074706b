"""Session-wide servers, each started only when a test asks for it."""

import os
import signal

import hypothesis

# Before OpenMP is loaded: a thread that spins while it waits takes the core of another test.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

pytest_plugins = [
    "tests.support.batch",
    "tests.support.batch_runs",
    "tests.support.demo_quarter",
    "tests.support.doctor",
    "tests.support.naming",
    "tests.support.postgres",
    "tests.support.real_calls",
    "tests.support.stores",
    "tests.support.terraform_moto",
    "tests.support.xdist_groups",
]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("ftm", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ftm")

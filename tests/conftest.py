"""Session-wide servers, each started only when a test asks for it."""

import hypothesis

pytest_plugins = [
    "tests.support.demo_quarter",
    "tests.support.postgres",
    "tests.support.real_calls",
    "tests.support.stores",
]

hypothesis.settings.register_profile("ftm", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ftm")

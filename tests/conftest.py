"""Session-wide servers, each started only when a test asks for it."""

pytest_plugins = ["tests.support.postgres", "tests.support.real_calls"]

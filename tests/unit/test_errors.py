"""The error tree is complete and drawn as it is."""

import inspect

from ftm.core import errors


def test_every_error_is_an_ftm_error_and_in_the_drawing() -> None:
    """No class escapes the root, and the tree at the top of the module names each."""
    drawing = errors.__doc__ or ""
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    assert len(classes) > 20
    for kind in classes:
        assert issubclass(kind, errors.FtmError)
        assert kind.__name__ in drawing

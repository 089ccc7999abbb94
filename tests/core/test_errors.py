from __future__ import annotations

import pytest

from detkit.core import errors
from detkit.core.errors import DetkitError, did_you_mean

TREE = [
    cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, DetkitError)
]


@pytest.mark.parametrize("cls", TREE)
def test_every_error_is_in_the_tree_of_the_docstring_with_its_exit_code(
    cls: type[DetkitError],
) -> None:
    assert errors.__doc__ is not None
    line = next(line for line in errors.__doc__.splitlines() if f"{cls.__name__} " in line)
    assert line.lstrip(" |`-").split()[:2] == [cls.__name__, str(cls.exit_code)]


@pytest.mark.parametrize("cls", TREE)
def test_error_carries_its_message_and_hint(cls: type[DetkitError]) -> None:
    error = cls("bad value", hint="mend it")
    assert (str(error), error.hint, cls("bad").hint) == ("bad value", "mend it", "")


def test_near_word_is_named_and_a_far_one_gets_the_list() -> None:
    assert did_you_mean("epoch", ["seed", "epochs"]) == "did you mean 'epochs'?"
    assert did_you_mean("xyz", {"seed", "epochs"}) == "known: epochs, seed"

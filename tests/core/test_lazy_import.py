from __future__ import annotations

import json

import pytest

from detkit.core.errors import BackendError
from detkit.core.lazy_import import import_function


def test_an_entry_is_the_function_it_names() -> None:
    assert import_function("json", "json:loads") is json.loads


def test_what_is_not_installed_is_told_with_how_to_install_it() -> None:
    with pytest.raises(BackendError, match="the engine is not installed") as caught:
        import_function("the engine", "no_such_package.part:function")
    assert caught.value.hint == "pip install no_such_package"

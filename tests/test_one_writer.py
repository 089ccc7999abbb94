"""Files reach the disk, and are opened, in one place each; what goes past it is found by its name.

`artifact.writing` makes, replaces and removes files, so that a full disk, a kill and a pipe under
the name are one matter for all of them; `core.reading` opens what a user names, and waits for
nothing. Here calls of Python and of libraries that would do the same are looked for by their names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from test_rooms import ROOT, files

METHODS_THAT_WRITE = {
    *("write_text", "write_bytes", "touch", "unlink", "rmdir", "mkdir", "rename", "chmod"),
    *("symlink_to", "hardlink_to", "save", "save_file", "save_model", "serialize_file", "tofile"),
}
MODULES_THAT_WRITE = {
    "os": {"open", "write", "replace", "rename", "renames", "remove", "unlink", "link", "symlink"}
    | {"mkdir", "makedirs", "rmdir", "truncate", "ftruncate", "mkfifo"},
    "shutil": {"copy", "copy2", "copyfile", "copyfileobj", "copytree", "move", "rmtree"},
    "tempfile": {"mkstemp", "mkdtemp", "mktemp", "TemporaryFile", "NamedTemporaryFile"}
    | {"SpooledTemporaryFile", "TemporaryDirectory"},
}
METHODS_THAT_READ = {"read_text", "read_bytes"}

WRITER = "artifact/writing.py"
WRITERS = {  # file -> what it calls, and why that is not past the one writer
    "artifact/seal.py": {"open r+b"},  # puts the digest into a name of `atomic_path`
    "artifact/outputs.py": {"unlink", "rmdir"},  # removes what a marker of ours lists
    "artifact/cache.py": {"unlink"},  # of ours, in the cache
    "cli/streams.py": {"os.open", "open w"},  # the streams of the process
    # The file of the kernel's lock, which a full disk must not leave behind.
    "core/run_lock.py": {"open a+", "open r+", "os.write", "mkdir", "unlink", "rmdir"},
    "data/coco/write.py": {"open w", "shutil.copyfileobj", "tempfile.TemporaryFile", "mkdir"},
    "data/draw.py": {"save"},  # into memory
    "engines/openvino/export.py": {"save_model", "write_bytes"},  # names of `atomic_path`
    "export/graph.py": {"save"},  # a name of `atomic_path`
    "nn/tensor_file.py": {"open wb"},  # a name of `atomic_path`
    "search/scoring/evaluators.py": {"save"},  # of `SupernetWeights`
    "search/study/journal.py": {"mkdir"},  # SQLite is whole by its own journal
}
READERS = {"core/reading.py", "core/memory.py", "machine/sysfs.py"}  # files of the kernel's


def source_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def calls(source: str) -> Iterator[tuple[ast.Call, str, str]]:
    """Calls with the name before the last dot, where it is a plain one, and the one after it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            value = node.func.value
            yield node, value.id if isinstance(value, ast.Name) else "", node.func.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node, "", node.func.id


def mode_of(call: ast.Call) -> str:
    """The mode that a call of `open` names, a short string of its letters; "" where it does not."""
    values = [*call.args[:2], *(word.value for word in call.keywords if word.arg == "mode")]
    texts = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    return next((text for text in texts if text and set(text) <= set("rwaxbt+")), "")


def writing_calls(source: str) -> set[str]:
    found = set()
    for call, owner, name in calls(source):
        if name in MODULES_THAT_WRITE.get(owner, ()):
            found.add(f"{owner}.{name}")
        elif isinstance(call.func, ast.Attribute) and name in METHODS_THAT_WRITE:
            found.add(name)
        elif name == "open" and owner != "os" and set(mode_of(call)) & set("wax+"):
            found.add(f"open {mode_of(call)}")
    return found


def reading_calls(source: str) -> set[str]:
    """Methods of a path that open it: what has no argument, or none but a mode or an encoding."""
    found = set()
    for call, _, name in calls(source):
        if isinstance(call.func, ast.Attribute):
            opens = name == "open" and not set(mode_of(call)) & set("wax+")
            is_method = all(isinstance(word, ast.Constant) for word in call.args)
            if (opens or name in METHODS_THAT_READ) and is_method:
                found.add(name)
    return found


def test_every_file_is_written_by_the_one_writer() -> None:
    past = {file: writing_calls(source_of(file)) for file in files() if file != WRITER}
    assert {file: names for file, names in past.items() if names} == WRITERS


def test_every_file_is_opened_by_the_one_reader() -> None:
    past = {file: reading_calls(source_of(file)) for file in files() if file not in READERS}
    assert {file: names for file, names in past.items() if names} == {}


def test_what_goes_past_them_is_found() -> None:
    source = """
path.open("wb"); open(p, mode="a"); shutil.copyfile(a, b); onnx.save(graph, p); p.touch()
path.open("rb"); path.read_text(encoding="utf-8"); path.read_bytes()
Image.open(file); os.replace; text.replace("a", "b"); write_text(path, text); read_bytes(data, 7)
"""
    assert writing_calls(source) == {"open wb", "open a", "shutil.copyfile", "save", "touch"}
    assert reading_calls(source) == {"open", "read_text", "read_bytes"}

"""What detkit knows of an inference engine before it imports anything of it.

A record is plain data: names, and functions as "module:function" strings that are imported when
they are first called. So every list of engines in help texts, completions, fingerprints and error
messages can be derived from the table in `detkit.engines` without loading an engine.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

from detkit.core.lazy_import import import_function


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One inference engine.

    Attributes:
        name: what `--runtime` calls it.
        packages: distributions of pip that bring it, the usual one first.
        module: what Python imports.
        reads: kinds of artifact that it runs (`Signature.kind`), its own first.
        precisions: what it computes in, of fp32, fp16 and int8.
        without: precision -> why it is not to be had.
        open: (path, manifest, SessionOptions) -> Session.
        open_graph: (path, SessionOptions) -> `runtime.graph_session.GraphRunner` of any ONNX graph;
            empty for an engine that does not read ONNX files by itself.
        exported_as: what `--to` calls its file; empty where it runs checkpoints.
        suffix: how that file ends.
        export: (checkpoint, out, ExportOptions) -> ConversionReport.
        build: (graph, manifest, path, engine name) -> Manifest, where the file has to be built from
            an ONNX graph; empty where the engine reads ONNX.
        check: (engine name) -> None; raises BackendError where what it builds cannot run here.
        int8_coverage: (path) -> convolutions by precision, where it can be asked on this machine.
        qdq_form: rewrites a traced Q/DQ graph (`export.qdq`) as this engine fuses it.
        int8_engine: name of the engine whose INT8 graphs it takes; its own where it has a form.
        int8_noise_share: how far its INT8 graph may stray, as a share of the noise of INT8 itself.
        concurrent: whether several sessions may run in threads beside each other.
        nms_of_int8_onnx: why an INT8 ONNX file with NMS is refused; empty where it is not.
        measured: the oldest and the newest version that INT8 files were measured on.
        caveats: version -> what is known to be slow or wrong with it.
    """

    name: str
    packages: tuple[str, ...]
    module: str
    reads: tuple[str, ...]
    precisions: tuple[str, ...]
    without: tuple[tuple[str, str], ...] = ()
    open: str
    open_graph: str = ""
    exported_as: str = ""
    suffix: str
    export: str = ""
    build: str = ""
    check: str = ""
    int8_coverage: str = ""
    qdq_form: str = ""
    int8_engine: str = ""
    int8_noise_share: float = 2.0
    concurrent: bool = False
    nms_of_int8_onnx: str = ""
    measured: tuple[str, str] | None = None
    caveats: tuple[tuple[str, str], ...] = ()

    @property
    def package(self) -> str:
        """The pip package to install."""
        return self.packages[0]

    @property
    def runs_checkpoints(self) -> bool:
        """Whether it runs detkit's checkpoints as they are, without an export."""
        return not self.exported_as

    @property
    def is_installed(self) -> bool:
        """Whether its Python module is installed; it may still fail to load."""
        return importlib.util.find_spec(self.module) is not None

    def load(self, target: str) -> Any:
        """Imports the function that one of the fields names.

        Raises:
            BackendError: it needs a package that is not installed here.
        """
        return import_function(self.name, target)

import pytest

from detkit.errors import UsageError
from detkit.export.coverage import coverage
from detkit.prototype import write_prototype
from detkit.runtime import open_session
from detkit.spec.zoo import ZOO, with_task

SPEC = with_task(ZOO["yolo-nas-p"], 3, (64, 64))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_int8_prototype_runs_its_convolutions_in_int8(tmp_path, runtime):
    pytest.importorskip(runtime)
    path = tmp_path / "p.onnx"
    manifest = write_prototype(SPEC, path, runtime=runtime, precision="int8")
    found = coverage(path, runtime)
    assert manifest.precision == "int8"
    assert found.int8 == found.total - 6  # all but the predictors
    assert open_session(path, runtime=runtime).manifest.arch == SPEC


def test_unknown_precision_suggests_the_near_one(tmp_path):
    with pytest.raises(UsageError, match="int9"):
        write_prototype(SPEC, tmp_path / "p.onnx", runtime="onnxruntime", precision="int9")

"""What verbs report, as typed records <-> JSON; times carry their unit in the field name.

The same record is printed with `--json` and written to disk. None means "not applicable"
(the -1 of pycocotools), never zero.
"""

from detkit.report.accuracy import ClassScore, EvalReport, Figures
from detkit.report.advice import AdviceReport, Variant
from detkit.report.checks import ChecksReport, EngineCheck
from detkit.report.comparison import ComparedFile, ComparedModel, CompareReport
from detkit.report.conversion import ConversionReport, Difference
from detkit.report.data import DataReport, Fault, SourceCounts, SplitReport, Suspicion
from detkit.report.detections import PredictReport
from detkit.report.labelling import DoubtfulImage, LabelCounts, LabelReport, LabelThresholds
from detkit.report.profile import HardwareProfile, LatencyFit, Measurement, ProfileSample
from detkit.report.quantization import EngineFigures, GroupSensitivity, QuantPoint, QuantReport
from detkit.report.record import Report, kind_of_class, report_classes
from detkit.report.search import MeasuredFront, MeasuredPoint, ParetoPoint, SearchReport
from detkit.report.speed import (
    BaselineComparison,
    BenchReport,
    Change,
    EndToEnd,
    LatencyStats,
    MachineState,
    ModelLatency,
    ReferenceTimes,
    Throughput,
)
from detkit.report.training import Averaged, TrainReport

__all__ = [
    "AdviceReport",
    "Averaged",
    "BaselineComparison",
    "BenchReport",
    "Change",
    "ChecksReport",
    "ClassScore",
    "CompareReport",
    "ComparedFile",
    "ComparedModel",
    "ConversionReport",
    "DataReport",
    "Difference",
    "DoubtfulImage",
    "EndToEnd",
    "EngineCheck",
    "EngineFigures",
    "EvalReport",
    "Fault",
    "Figures",
    "GroupSensitivity",
    "HardwareProfile",
    "LabelCounts",
    "LabelReport",
    "LabelThresholds",
    "LatencyFit",
    "LatencyStats",
    "MachineState",
    "MeasuredFront",
    "MeasuredPoint",
    "Measurement",
    "ModelLatency",
    "ParetoPoint",
    "PredictReport",
    "ProfileSample",
    "QuantPoint",
    "QuantReport",
    "ReferenceTimes",
    "Report",
    "SearchReport",
    "SourceCounts",
    "SplitReport",
    "Suspicion",
    "Throughput",
    "TrainReport",
    "Variant",
    "kind_of_class",
    "report_classes",
]

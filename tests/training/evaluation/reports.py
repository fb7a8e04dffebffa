"""A small evaluation for the tests of its presentation."""

from __future__ import annotations

from worker.records import PredictedEntity
from worker.training.data.examples import Span, TaggedText
from worker.training.evaluation import report
from worker.training.evaluation.bootstrap import BootstrapEstimate
from worker.training.evaluation.labels import build_predictions
from worker.training.evaluation.report import EvaluationOptions, EvaluationReport, VectorReport

OPTIONS = EvaluationOptions(num_examples=2, num_draws=50)


def small_report(*, temperature: float = 1.5) -> EvaluationReport:
    """Return a report of each kind on a few texts."""
    scores = [{"no": 1 - p, "$yes$": p} for p in (0.625, 0.875, 0.25, 0.75)]
    labels = build_predictions(("no", "$yes$"), ["no", "no", "no", "$yes$"], scores)
    tagged = [TaggedText("Ada in [bold]Rome", (Span("PER", 0, 3), Span("LOC", 13, 17)))]
    found = [[PredictedEntity("PER", "Ada", 0, 3, 0.75, "ner"), PredictedEntity("LOC", "in", 4, 6, 0.5, "ner")]]
    texts = ["a", "[red]b", "c", "d"]
    return EvaluationReport(
        model="m@1",
        runs_on="cpu",
        options=OPTIONS,
        labels=(report.build_label_report("mood", "x/y.jsonl", labels, texts, temperature=temperature, options=OPTIONS),),
        entities=(report.build_entity_report("ner", "x/z.conll", tagged, found, temperature=temperature, options=OPTIONS),),
        vectors=VectorReport(against="e@1", num_texts=4, figures={"Pearson": BootstrapEstimate(0.9875, 0.9, 1.0)}),
    )

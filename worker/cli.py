"""The command line: every command is declared here, and its module is imported when the command runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import worker
from worker.commands.lazy_group import Command, CommandGroup, LazyGroup, format_example
from worker.commands.output_encoding import escape_controls, escape_unencodable
from worker.commands.output_failure import describe_output_failures, write_error
from worker.commands.run.signals import leave_at_once
from worker.commands.setting_flags import ALL, CONNECTION, SERVE, TASKS, TOPICS, TRANSACTIONS
from worker.errors import BadSettings, FatalError

_SERVE, _LOOK, _REPAIR, _TRAIN, _MEASURE = "Serve", "Look", "Repair", "Train", "Measure"
_BENCH, _TRAINING, _DLQ = "worker.commands.bench", "worker.commands.training", "worker.commands.repair.cli"
_FIELDS = ("text_field", "text_template", "id_from", "id_field")
_GROUP_SETTINGS, _DLQ_SETTINGS = (*CONNECTION, "group_id", *TOPICS), (*CONNECTION, *TOPICS, *_FIELDS, "envelope")

COMMANDS: dict[str, Command | CommandGroup] = {
    "run": Command(
        path="worker.commands.run.cli:run",
        summary="Serve a model on a Kafka topic.",
        panel=_SERVE,
        settings=ALL,
        example="gist-stream run --bootstrap-servers broker:9092 --input-topic tickets",
    ),
    "serve": Command(
        path="worker.commands.run.serve:serve",
        summary="Serve a model over HTTP, without Kafka.",
        panel=_SERVE,
        settings=SERVE,
        example="gist-stream serve --api-port 8090",
    ),
    "topics": Command(
        path="worker.commands.check:topics",
        summary="List the topics of a worker, or create the missing ones.",
        panel=_SERVE,
        settings=(*_GROUP_SETTINGS, "group_protocol", "session_timeout_ms", "topic_partitions", "replication_factor", *TASKS),
        example="gist-stream topics --input-topic tickets --create",
    ),
    "produce": Command(
        path="worker.commands.produce:produce",
        summary="Send texts to the input topic.",
        panel=_SERVE,
        settings=(*CONNECTION, "input_topic", "text_field", "text_template", "envelope"),
        example="echo 'Ada Lovelace loved London.' | gist-stream produce --input-topic tickets",
    ),
    "kafka": Command(
        path="worker.commands.kafka:kafka",
        summary="Run a Kafka broker on this machine, for a trial.",
        panel=_SERVE,
        example="gist-stream kafka 9092",
    ),
    "demo": Command(
        path="worker.commands.demo.demo:demo",
        summary="Run a broker and a worker, and count the results.",
        panel=_SERVE,
        example="gist-stream demo --count 500",
    ),
    "demo-search": Command(
        path="worker.commands.demo.search:demo_search",
        summary="Run a worker, Kafka Connect and PostgreSQL, and search in SQL.",
        panel=_SERVE,
        example="gist-stream demo-search --count 1000",
    ),
    "check": Command(
        path="worker.commands.check:check",
        summary="Check settings, broker, group, topics and model.",
        panel=_LOOK,
        settings=ALL,
        example="gist-stream check --bootstrap-servers broker:9092 --json",
    ),
    "try": Command(
        path="worker.commands.try_records:try_records",
        summary="Show what a worker reads and would publish.",
        panel=_LOOK,
        settings=ALL,
        example="gist-stream try 'Ada Lovelace loved London.'",
    ),
    "tail": Command(
        path="worker.commands.tail:tail",
        summary="Follow the results.",
        panel=_LOOK,
        settings=(*CONNECTION, *TOPICS, *_FIELDS, "result_field", *TASKS),
        example="gist-stream tail --input-topic tickets --from-beginning --count 10",
    ),
    "console": Command(
        path="worker.commands.console.console:console",
        summary="Show workers, results and dead letters in a browser.",
        panel=_LOOK,
        settings=(*_GROUP_SETTINGS, *_FIELDS, "envelope", "result_field", *TASKS, *TRANSACTIONS),
        example="gist-stream console --input-topic tickets --worker http://127.0.0.1:8080",
    ),
    "lag": Command(
        path="worker.commands.repair.lag:lag",
        summary="Show the consumer lag of each partition.",
        panel=_LOOK,
        settings=_GROUP_SETTINGS,
        example="gist-stream lag --group-id tickets-worker --json",
    ),
    "version": Command(
        path="worker.cli:version",
        summary="Print the version.",
        panel=_LOOK,
        example="gist-stream version",
    ),
    "dlq": CommandGroup(
        summary="List, show, replay or drop dead letters.",
        help="List, show, replay or drop dead letters.\n\nNo command deletes a record. The progress of replays is the committed "
        "offset of the group gist-stream-dlq:TOPIC; the retention of the topic deletes old dead letters.",
        panel=_REPAIR,
        example="gist-stream dlq list --stage infer --since 2h",
        commands={
            "list": Command(
                path=f"{_DLQ}:list_dead_letters",
                summary="Count the dead letters by stage and error, and list them.",
                settings=_DLQ_SETTINGS,
                example="gist-stream dlq list --stage infer --since 2h",
            ),
            "show": Command(
                path=f"{_DLQ}:show_dead_letter",
                summary="Show one dead letter with its decoded payload.",
                settings=_DLQ_SETTINGS,
                example="gist-stream dlq show 0@17",
            ),
            "replay": Command(
                path=f"{_DLQ}:replay_dead_letters",
                summary="Send the records of dead letters again.",
                settings=(*_DLQ_SETTINGS, *TRANSACTIONS),
                example="gist-stream dlq replay --error RecordFailed --execute",
            ),
            "drop": Command(
                path=f"{_DLQ}:drop_dead_letters",
                summary="Mark dead letters as handled, without a replay.",
                settings=(*_DLQ_SETTINGS, *TRANSACTIONS),
                example="gist-stream dlq drop --letter 0@17 --execute",
            ),
        },
    ),
    "offsets": CommandGroup(
        summary="Show or reset the committed offsets of the group.",
        help="Show or reset the committed offsets of the group.",
        panel=_REPAIR,
        example="gist-stream offsets show --group-id tickets-worker",
        commands={
            "show": Command(
                path="worker.commands.repair.offsets:show",
                summary="Show committed offset, end, lag and owner of each partition.",
                settings=_GROUP_SETTINGS,
                example="gist-stream offsets show --group-id tickets-worker",
            ),
            "reset": Command(
                path="worker.commands.repair.offsets:reset",
                summary="Move the committed offsets of a stopped group.",
                settings=(*_GROUP_SETTINGS, "delivery"),
                example="gist-stream offsets reset --by-duration 2h --execute",
            ),
        },
    ),
    "import": Command(
        path=f"{_TRAINING}.import_published:import_published",
        summary="Import a published classifier, tagger or encoder.",
        panel=_TRAIN,
        example="gist-stream import org/name@3e2a5a1 models/mine --name topics --execute",
    ),
    "data": Command(
        path=f"{_TRAINING}.data:data",
        summary="Show the contents of files of labelled texts.",
        panel=_TRAIN,
        example="gist-stream data tickets.csv --label-column mood",
    ),
    "synthesize": Command(
        path=f"{_TRAINING}.synthesize:synthesize",
        summary="Write labelled texts from templates or swapped entities.",
        panel=_TRAIN,
        example="gist-stream synthesize made.jsonl --count 500",
    ),
    "train": CommandGroup(
        summary="Train heads and fine-tune encoders.",
        help="Train heads and fine-tune encoders.\n\nWithout a command, `train` is `train run`.",
        panel=_TRAIN,
        default="run",
        example="gist-stream train models/mine --labels tickets.csv",
        commands={
            "run": Command(
                path=f"{_TRAINING}.train:run",
                summary="Train heads, by a TOML file or by flags.",
                example="gist-stream train models/mine --labels tickets.csv",
            ),
            "compare": Command(
                path=f"{_TRAINING}.compare:compare",
                summary="Compare the strategies of training.",
                example="gist-stream train compare results --seeds 1",
            ),
        },
    ),
    "evaluate": Command(
        path=f"{_TRAINING}.evaluate:evaluate",
        summary="Measure a model on held-out texts.",
        panel=_TRAIN,
        example="gist-stream evaluate models/mine --labels held-out.csv",
    ),
    "distill": Command(
        path=f"{_TRAINING}.distill:distill",
        summary="Distill an encoder into a smaller one.",
        panel=_TRAIN,
        example="gist-stream distill models/small --texts tickets.txt",
    ),
    "quantize": Command(
        path=f"{_TRAINING}.quantize:quantize",
        summary="Calibrate a model for 8-bit matrix products on a CPU.",
        panel=_TRAIN,
        example="gist-stream quantize models/int8 --texts tickets.txt",
    ),
    "bench": CommandGroup(
        summary="Measure the engine, the stream, the delivery and the scaling.",
        help="Measure the engine, the stream, the delivery and the scaling, each against a baseline.",
        panel=_MEASURE,
        example="gist-stream bench engine --quick",
        commands={
            name: Command(path=f"{_BENCH}.{module}:{name}", summary=summary, example=f"gist-stream bench {name}{flags}")
            for name, module, summary, flags in (
                ("engine", "engine", "Compare the engine with other libraries.", " --quick"),
                ("stream", "broker", "Measure throughput and latency with a broker.", " --quick"),
                ("api", "broker", "Measure the HTTP endpoint, and a stream with queries.", " --quick"),
                ("delivery", "broker", "Compare exactly once with at least once.", " --quick"),
                ("encoders", "broker", "Compare several models in a worker with a worker for each.", ""),
                ("backfill", "broker", "Measure live latency with and without a backfill.", ""),
                ("scale", "broker", "Measure replicas, partitions and rebalances.", " --quick"),
                ("sweep", "broker", "Change one setting at a time.", " partitions=32 threads=1 max_batch_tokens=2048"),
                ("encodings", "encodings", "Measure size and recall of each encoding of vectors.", ""),
                ("profile", "engine", "Show the time of each part of a forward pass.", ""),
            )
        },
    ),
}


class _Root(LazyGroup):
    declared = COMMANDS


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=format_example(
        "gist-stream kafka 9092 &                 # a broker for a trial\n"
        "gist-stream run --create-topics true &   # a worker\n"
        "echo 'Ada Lovelace loved London.' | gist-stream produce\n"
        "gist-stream tail --from-beginning --count 1"
    )
    + "\n\n\b\nExit codes: 0 done, 2 settings, 3 broker, 4 topics, 5 model, 6 the model fails,\n"
    "7 not drained in time, 8 wrong record format, 1 any other failure. docs/reference/command-line.md explains them.",
)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001  typer passes the value of the option
    if is_asked:
        typer.echo(worker.__version__)
        raise typer.Exit


@app.callback()
def describe_program(
    *,
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")] = False,
) -> None:
    """Read texts from Kafka; publish embeddings, labels and entities, in order."""


def version() -> None:
    """Print the version."""
    typer.echo(worker.__version__)


def main() -> None:
    """Run a command; a user's mistake is one line on standard error and an exit code, never a traceback."""
    leave_at_once()
    escape_unencodable()
    with describe_output_failures():
        try:
            app()
        except FatalError as stop:
            write_error(escape_controls(str(stop), keeps_lines=True))
            sys.exit(stop.exit_code)
        except ModuleNotFoundError as error:
            # The image for CPUs has neither: only training, measurements and GPUs need them.
            if error.name not in {"torch", "transformers"}:
                raise
            write_error(f"{error.name} is not installed; this command needs it: pip install {error.name}")
            sys.exit(BadSettings.exit_code)
        except KeyboardInterrupt:
            sys.exit(130)

"""GIST Stream: text in on one Kafka topic; embeddings, labels and entities out on others, in order, none lost.

    consume → decode → tokenize → batch → infer → encode → publish → commit

The ledger of a partition tracks each record from the poll to the acknowledgement. Outputs are published in order, as part of the
longest finished prefix of the partition. The offset is committed after the outputs (at least once) or in the same transaction
(exactly once). A record that cannot be processed is a dead letter with stage and reason.

Read `pipeline` first, then `records`, `batches`, `errors` and `ports`. Then read `flow` (`ledger`, `session`, `assignment`,
`backpressure`, `batching`, `lanes`, `model_executor`, `outcomes`, `trust`, `monitor`), `wire` and `rollout`. `broker` and `model`
implement the ports, and `composition` builds all objects from `settings`.
"""

__version__ = "0.1.0"

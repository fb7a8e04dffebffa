"""GIST Stream: text in on one Kafka topic; embeddings, labels and entities out on others, in order, none lost.

    consume → decode → tokenize → batch → infer → encode → publish → commit

What the worker promises: a record is tracked in its partition's ledger the moment it is seen; it is published only in order, as
part of the longest finished prefix of its partition; and its offset is committed only after (at least once) or together with
(exactly once) what was published for it. What cannot be processed ends in the dead-letter topic, with stage and reason.

Read the modules in this order: `records`, `errors`, `ports`, `codec`, `ledger`, `batching`, `lanes`, `session`, `backpressure`,
`pipeline`; then the two
rooms behind the walls, `broker` and `model`; then `settings` and `cli`, which put them together.
"""

__version__ = "0.1.0"

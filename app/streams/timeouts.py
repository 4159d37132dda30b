"""How long the worker's clients wait for a broker: the worker is back within ten seconds of it, whatever it was away for."""

from typing import Final

REQUEST_TIMEOUT_MS: Final = 3_000
"""After so long without an answer a connection is given up, and the request is sent again over a new one.

This is how a half-open connection is noticed: nobody closes it, and nothing that is sent over it ever arrives. Two such
waits may follow each other, one for the metadata and one for the coordinator. A join of the group that has to wait longer for
other workers is sent again under the same member id, which the broker takes for the same join; a batch that is sent
again has the same sequence number, which the broker knows.

In a cluster the copies of a batch may have to wait longer than this for a broker that was lost, until the others have given
it up (`broker.session.timeout.ms`, 9 s by default): the batch is sent again meanwhile, or its shard is opened anew.
"""

RETRY_MS: Final = 50
"""After so long a request is sent again that a broker could not serve."""

RETRY_SOON_MS: Final = 5
"""The same while a transaction has only just begun to be committed: in about one of a hundred the coordinator, or the check of a
batch, is a few milliseconds behind, and nothing is wrong."""

SOON_FOR_S: Final = 0.3
"""How long that may be so; whoever is not ready by then is away."""

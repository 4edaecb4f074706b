"""Reading what jobs logged to CloudWatch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ftm.core.errors import JobError
from ftm.jobs.aws_calls import AWSClient

_TAIL_LINES = 50


class CloudWatchLogs:
    """Lines of log streams, addressed as `log-group:log-stream`.

    Args:
        client: of the service `logs`.
    """

    def __init__(self, client: AWSClient) -> None:
        self._client = client

    def tail(self, address: str, n_lines: int = _TAIL_LINES) -> str:
        """The last lines of a stream; empty if it cannot be read: it only helps to explain."""
        group, _, stream = address.partition(":")
        with suppress(JobError):
            answer = self._client.once(
                "get_log_events",
                logGroupName=group,
                logStreamName=stream,
                limit=n_lines,
                startFromHead=False,
            )
            return "\n".join(str(event["message"]) for event in answer["events"])
        return ""

    def lines(self, address: str) -> Iterator[tuple[int, str]]:
        """(milliseconds since 1970, line) of a whole stream, oldest first.

        Raises:
            JobError: there is no such stream, or it may not be read.
        """
        group, _, stream = address.partition(":")
        token: dict[str, str] = {}
        while True:
            answer = self._client.call(
                "get_log_events",
                logGroupName=group,
                logStreamName=stream,
                startFromHead=True,
                **token,
            )
            for event in answer["events"]:
                yield int(event["timestamp"]), str(event["message"])
            # The same token again is the end of the stream.
            if answer.get("nextForwardToken") in (None, token.get("nextToken")):
                return
            token = {"nextToken": answer["nextForwardToken"]}

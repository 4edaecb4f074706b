"""Reading what jobs logged to CloudWatch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ftm.core.errors import JobError
from ftm.jobs.aws_calls import AWSClient

_TAIL_LINES = 50
MOST_LINES = 10_000
"""https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html"""


class CloudWatchLogs:
    """Lines of log streams, addressed as `log-group:log-stream`.

    Args:
        client: of the service `logs`.
    """

    def __init__(self, client: AWSClient) -> None:
        self._client = client

    def tail(self, address: str, n_lines: int = _TAIL_LINES) -> str:
        """The last lines of a stream; empty if it cannot be read: it only helps to explain."""
        with suppress(JobError):
            return "\n".join(line for _, line in self.last(address, n_lines))
        return ""

    def last(self, address: str, n_lines: int) -> list[tuple[int, str]]:
        """(milliseconds since 1970, line) of the last lines of a stream, at most 10,000.

        Raises:
            JobError: there is no such stream, or it may not be read.
        """
        group, _, stream = address.partition(":")
        answer = self._client.once(
            "get_log_events",
            logGroupName=group,
            logStreamName=stream,
            limit=min(n_lines, MOST_LINES),
            startFromHead=False,
        )
        return [(int(event["timestamp"]), str(event["message"])) for event in answer["events"]]

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

"""The event source mappings: what gives a queue's messages to its consumer."""

from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.aws.clients import Clients
from chalicelib.aws.job_queue import FAILURES
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.policies import Lane, Tier

OPEN, SHUT = frozenset({"Creating", "Enabling", "Enabled"}), frozenset({"Disabling", "Disabled"})
LEAVING = frozenset({"Deleting"})  # a deployment replaces it; Lambda would refuse any change


class LambdaEventSources:
    """The mappings behind `domain.backlog.EventSources`, found by the ARNs of their queues."""

    def __init__(self, clients: Clients, urls: Mapping[tuple[Tier, Lane], str]) -> None:
        self._clients = clients  # the one for Lambda is made when it is first needed
        self._urls = urls
        self._arns: dict[str, str] = {}  # a queue's never changes

    def set_enabled(self, tier: Tier, enabled: bool) -> bool:
        """Enable or disable the mappings of a tier's queues, where they are not so already.

        One that cannot be changed keeps no other from being changed.
        """
        right = LEAVING | (OPEN if enabled else SHUT)
        try:
            wrong = [mapping for mapping in self._mappings(tier) if mapping["State"] not in right]
        except FAILURES as error:
            raise StoreRefused("The event source mappings cannot be seen now.") from error
        refused = None
        for mapping in wrong:
            try:
                self._clients.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)
            except FAILURES as error:  # among them ResourceInUse: it is still being changed
                refused = error
        if refused is not None:
            raise StoreRefused("An event source mapping cannot be changed now.") from refused
        return bool(wrong)

    def _mappings(self, tier: Tier) -> Iterator[Mapping[str, Any]]:
        pages = self._clients.functions.get_paginator("list_event_source_mappings")
        for lane in Lane:
            for page in pages.paginate(EventSourceArn=self._arn(self._urls[tier, lane])):
                yield from page["EventSourceMappings"]

    def _arn(self, url: str) -> str:
        if url not in self._arns:
            queue = self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
            self._arns[url] = queue["Attributes"]["QueueArn"]
        return self._arns[url]

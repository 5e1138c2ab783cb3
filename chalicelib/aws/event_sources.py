"""The event source mappings: what gives a queue's messages to its consumer."""

from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.aws.clients import Clients
from chalicelib.aws.job_queue import FAILURES
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.policies import Lane, Tier

OPEN, SHUT = frozenset({"Creating", "Enabling", "Enabled"}), frozenset({"Disabling", "Disabled"})


class LambdaEventSources:
    """The mappings behind `domain.backlog.EventSources`, found by the ARNs of their queues."""

    def __init__(self, clients: Clients, urls: Mapping[tuple[Tier, Lane], str]) -> None:
        self._clients = clients  # the one for Lambda is made when it is first needed
        self._urls = urls

    def set_enabled(self, tier: Tier, enabled: bool) -> bool:
        """Enable or disable the mappings of a tier's queues, where they are not so already."""
        changed = False
        try:
            for mapping in self._mappings(tier):
                if mapping["State"] not in (OPEN if enabled else SHUT):
                    self._clients.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)
                    changed = True
        except FAILURES as error:  # among them ResourceInUse: it is still being changed
            raise StoreRefused("An event source mapping cannot be changed now.") from error
        return changed

    def _mappings(self, tier: Tier) -> Iterator[Mapping[str, Any]]:
        for lane in Lane:
            url = self._urls[tier, lane]
            queue = self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
            arn = queue["Attributes"]["QueueArn"]
            answer = self._clients.functions.list_event_source_mappings(EventSourceArn=arn)
            yield from answer["EventSourceMappings"]

"""The archive in an S3 bucket."""

import base64
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.failures import read, write
from chalicelib.domain.errors import StoreRefused

MISSING = frozenset({"NoSuchKey", "404"})


class S3Archive:
    """The objects behind `archive.Archive`."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, body: bytes, *, sha256: str) -> None:
        """Write an object; S3 refuses it if it did not arrive whole."""
        write(
            self._client.put_object,
            Bucket=self._bucket,
            Key=key,
            Body=body,
            ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
        )

    def read(self, key: str) -> bytes | None:
        """Return an object, None if there is none."""
        try:
            body: bytes = read(self._get, key)["Body"]
        except StoreRefused as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and cause.response["Error"]["Code"] in MISSING:
                return None
            raise
        return body

    def names(self, prefix: str, *, after: str | None, limit: int) -> list[str]:
        """Return the names that begin with `prefix`, in order, those after a name."""
        start = {} if after is None else {"StartAfter": after}
        answer = read(self._client.list_objects_v2, Bucket=self._bucket, Prefix=prefix, MaxKeys=limit, **start)
        return [each["Key"] for each in answer.get("Contents", [])]

    def delete(self, key: str) -> None:
        """Delete an object."""
        write(self._client.delete_object, Bucket=self._bucket, Key=key)

    def _get(self, key: str) -> Mapping[str, Any]:
        answer = self._client.get_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        with answer["Body"] as body:  # read here, so that a reply that is cut is tried again
            return {"Body": body.read()}

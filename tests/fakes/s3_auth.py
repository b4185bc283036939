"""Checks the SigV4 of a request to the S3 of the tests, in its header or its URL, as AWS does and with AWS's codes."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_HEADER = re.compile(r"AWS4-HMAC-SHA256 Credential=(\S+), ?SignedHeaders=(\S+), ?Signature=([0-9a-f]{64})")
_UNSIGNED = "UNSIGNED-PAYLOAD"
_SKEW = timedelta(minutes=15)


class Refused(Exception):
    """The answer is an error of S3: HTTP status, code, message."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Account:
    """Who may ask, and where."""

    access_key_id: str
    secret_access_key: str
    region: str


@dataclass(frozen=True)
class Asked:
    """A request as it came over the wire; ``url`` is absolute."""

    method: str
    url: str
    headers: Mapping[str, str]


def check_signature(account: Account, asked: Asked, now: datetime) -> str | None:
    """The SHA-256 that the signature names for the body, ``None`` if it leaves the body open. Raises ``Refused``."""
    query = dict(parse_qsl(urlsplit(asked.url).query, keep_blank_values=True))
    if "X-Amz-Signature" in query:
        return _check_url(account, asked, query, now)
    found = _HEADER.fullmatch(asked.headers.get("authorization", ""))
    if not found:
        raise Refused(403, "AccessDenied", "There is no signature.")
    credential, names, signature = found.groups()
    _check_credential(account, credential, "AuthorizationHeaderMalformed")
    stamp = asked.headers["x-amz-date"]
    if abs(_time(stamp) - now) > _SKEW:
        raise Refused(403, "RequestTimeTooSkewed", "The difference between the times is too large.")
    auth = S3SigV4Auth(_credentials(account), "s3", account.region)
    _compare(auth, _request(asked, asked.url, names, stamp), signature)
    payload = asked.headers["x-amz-content-sha256"]
    return None if payload == _UNSIGNED else payload


def _check_url(account: Account, asked: Asked, query: Mapping[str, str], now: datetime) -> None:
    _check_credential(account, query["X-Amz-Credential"], "AuthorizationQueryParametersError")
    signed = query["X-Amz-SignedHeaders"].split(";")
    unsigned = [name for name in asked.headers if name.startswith("x-amz-") and name not in signed]
    if unsigned:
        raise Refused(403, "AccessDenied", f"There were headers present which were not signed: {unsigned}")
    start, lasts = _time(query["X-Amz-Date"]), timedelta(seconds=int(query["X-Amz-Expires"]))
    if now < start - _SKEW or lasts > timedelta(days=7):
        raise Refused(400, "AuthorizationQueryParametersError", "X-Amz-Date or X-Amz-Expires makes no sense.")
    if now > start + lasts:
        raise Refused(403, "AccessDenied", "Request has expired")
    url, _, signature = asked.url.rpartition("&X-Amz-Signature=")
    auth = S3SigV4QueryAuth(_credentials(account), "s3", account.region, int(lasts.total_seconds()))
    _compare(auth, _request(asked, url, query["X-Amz-SignedHeaders"], query["X-Amz-Date"]), signature)


def check_payload(named: str | None, body: bytes) -> None:
    if named is not None and named != hashlib.sha256(body).hexdigest():
        raise Refused(400, "XAmzContentSHA256Mismatch", "The body is not the one that was signed.")


def _check_credential(account: Account, credential: str, malformed: str) -> None:
    key_id, _, region, service, ending = credential.rsplit("/", 4)
    if key_id != account.access_key_id:
        raise Refused(403, "InvalidAccessKeyId", "The access key does not exist in our records.")
    if (region, service, ending) != (account.region, "s3", "aws4_request"):
        raise Refused(400, malformed, f"the region '{region}' is wrong; expecting '{account.region}'")


def _request(asked: Asked, url: str, names: str, stamp: str) -> AWSRequest:
    """Only what was signed: a signed header that did not come counts as empty, so that the signature fails."""
    headers = {name: asked.headers.get(name, "") for name in names.split(";")}
    if "x-amz-content-sha256" in asked.headers:
        headers["x-amz-content-sha256"] = asked.headers["x-amz-content-sha256"]
    request = AWSRequest(method=asked.method, url=url, headers=headers)
    request.context["timestamp"] = stamp
    return request


def _compare(auth: S3SigV4Auth | S3SigV4QueryAuth, request: AWSRequest, signature: str) -> None:
    wanted = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if not hmac.compare_digest(wanted, signature):
        raise Refused(403, "SignatureDoesNotMatch", "The signature we calculated does not match yours.")


def _credentials(account: Account) -> Credentials:
    return Credentials(account.access_key_id, account.secret_access_key)


def _time(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

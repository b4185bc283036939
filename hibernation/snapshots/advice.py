"""What to change when a store does not do what it must, by what it answered."""

from __future__ import annotations

_UNREACHED = (
    "Nothing answers there: check DUMONT_S3_ENDPOINT (with the filesystem store DUMONT_BASE_URL and the web process), "
    "DNS and the firewall. If the bucket's name stands in front of the host and should not, set DUMONT_S3_PATH_STYLE=1."
)
_TLS = (
    "The certificate is not trusted, or http and https are mixed up: check the scheme of DUMONT_S3_ENDPOINT; "
    "a private authority's certificate goes into a file named by AWS_CA_BUNDLE. If the certificate does not hold for "
    "BUCKET.host, set DUMONT_S3_PATH_STYLE=1."
)
_REGION = (
    "The bucket is in another region: set DUMONT_S3_REGION (R2: auto; AWS: the bucket's; B2: as in the endpoint, "
    "such as us-west-004) and, on AWS, leave DUMONT_S3_ENDPOINT empty."
)
_CLOCK = "This machine's clock is wrong: run NTP. Signatures hold for 15 minutes around the store's time."
_BUSY = "The store is overloaded or being repaired. Try again; if it lasts, ask the provider."
_BUCKET = "This key has no such bucket: create it, or correct DUMONT_S3_BUCKET, _ENDPOINT or _PATH_STYLE."
_CHECKSUM = "The provider does not know CRC-32 checksums (B2 does not): set DUMONT_S3_CHECKSUM=none."
_ONCE = "The provider has no conditional writes (B2 has none): set DUMONT_S3_WRITE_ONCE=0."

_BY_REASON = {
    **dict.fromkeys(("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError"), _UNREACHED),
    **dict.fromkeys(
        ("NewConnectionError", "NameResolutionError", "ReadTimeoutError", "ProtocolError"), _UNREACHED
    ),
    **dict.fromkeys(("MissingSchema", "InvalidEndpointUrl", "ValueError", "LocationParseError"), _UNREACHED),
    "ProxyConnectionError": "The proxy of HTTPS_PROXY does not answer. Set NO_PROXY for the endpoint if it needs none.",
    "SSLError": _TLS,
    **dict.fromkeys(("AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"), _REGION),
    **dict.fromkeys(("PermanentRedirect", "TemporaryRedirect", "301", "307"), _REGION),
    **dict.fromkeys(
        ("IllegalLocationConstraintException", "InvalidRegionName", "InvalidRegionError"), _REGION
    ),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired"), _CLOCK),
    **dict.fromkeys(("SlowDown", "503", "ServiceUnavailable", "InternalError", "500", "busy"), _BUSY),
    **dict.fromkeys(("NoSuchBucket", "InvalidBucketName", "ParamValidationError"), _BUCKET),
    "InvalidAccessKeyId": "The store does not know DUMONT_S3_ACCESS_KEY_ID: copy it again, or make a new key.",
    "SignatureDoesNotMatch": (
        "DUMONT_S3_SECRET_ACCESS_KEY does not belong to the key id, or a proxy on the way changes requests: "
        "copy the secret again, without spaces or a line break."
    ),
    "store_refused": (
        "The web process and this command must have the same DUMONT_SECRET_KEY, DUMONT_STORE_ROOT and clock, "
        "and the disk must have room."
    ),
    "not_found": "The web process at DUMONT_BASE_URL runs with another DUMONT_STORE than this command.",
}


def advise(reason: str, message: str, permission: str) -> str:
    """What to do about an answer. ``reason`` is S3's code, an HTTP status or an exception's name; '' if nothing helps.

    ``permission`` is what the key needs for the call.
    """
    said = message.lower()
    if "expired" in said:
        return _CLOCK
    if reason in ("InvalidArgument", "NotImplemented", "InvalidRequest", "400", "501"):
        return _CHECKSUM if "checksum" in said else f"{_ONCE} If that is not it: {_CHECKSUM}"
    if reason in ("AccessDenied", "403", "Forbidden", "AllAccessDisabled"):
        return f"Allow {permission} to the key for this bucket and prefix (and check the clock)."
    return _BY_REASON.get(reason, "")

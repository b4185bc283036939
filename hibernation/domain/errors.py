"""The one error tree. Each error has a stable ``code`` for machines and a sentence for people."""

from __future__ import annotations


class DumontError(Exception):
    """Base of every expected failure. ``code`` is part of the public contract and never changes meaning."""

    code = "error"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.__class__.__doc__ or self.code)

    @property
    def message(self) -> str:
        return str(self)


class InvalidRequest(DumontError):
    """The request cannot be understood."""

    code = "invalid"

    def __init__(self, message: str = "", fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = fields or {}


class NotFound(DumontError):
    """There is no such thing."""

    code = "not_found"


def no_instance(instance_id: str) -> NotFound:
    """In the same words, whether there never was one or it is not the caller's."""
    return NotFound(f"There is no instance {instance_id!r}.")


class Conflict(DumontError):
    """The state of the instance does not allow this now."""

    code = "conflict"


class CreditTooLow(Conflict):
    """What is left on the provider's account is kept for saving what is awake."""

    code = "credit_too_low"


class ProviderError(DumontError):
    """The provider's answer says nothing about what happened: it may have acted or not."""

    code = "provider_error"


class ProviderUnavailable(ProviderError):
    """The provider cannot be reached, or its answer was cut short. Try again later."""

    code = "provider_unavailable"


class ProviderRefused(ProviderError):
    """The provider said no, and did nothing."""

    code = "provider_refused"


class OfferGone(ProviderRefused):
    """The offer was taken or withdrawn before we rented it. Nothing was rented."""

    code = "offer_gone"


class ProviderDenied(ProviderError):
    """The provider does not accept our credentials, or they lack a permission. It says nothing about any machine."""

    code = "provider_denied"


class RateLimited(ProviderUnavailable):
    """The provider wants fewer requests. ``retry_after`` is in seconds."""

    code = "rate_limited"

    def __init__(self, message: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BadOrder(ProviderRefused):
    """The provider refuses the order itself: another offer would not help."""

    code = "bad_order"


class OutOfCredit(ProviderRefused):
    """The account has not enough credit. Nothing was rented."""

    code = "out_of_credit"


class NoCapacity(ProviderRefused):
    """There is no free GPU for it now."""

    code = "no_capacity"


class NotSupported(ProviderRefused):
    """This provider cannot do that."""

    code = "not_supported"


class LaunchDeferred(ProviderRefused):
    """Launches are asked for too fast: nothing was rented. The same order may be sent ``retry_after`` seconds later."""

    code = "launch_deferred"

    def __init__(self, message: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LaunchLeftover(ProviderError):
    """The launch failed but left a rental behind, ``contract_id``, which has to be ended."""

    code = "launch_leftover"

    def __init__(self, message: str, contract_id: str) -> None:
        super().__init__(message)
        self.contract_id = contract_id


class BoxError(DumontError):
    """A command on the machine failed or its answer made no sense."""

    code = "box_error"


class BoxUnreachable(BoxError):
    """The machine does not answer over SSH (yet)."""

    code = "box_unreachable"


class BoxSilent(BoxUnreachable):
    """Nothing answers at any address of the machine, not even with a refusal."""

    code = "box_silent"


class KeyRefused(BoxUnreachable):
    """The machine answers over SSH and does not accept our key (yet)."""

    code = "key_refused"


class MachineFailed(BoxError):
    """The provider says that the machine stands still or will not come up. ``our_fault``: nor would it elsewhere."""

    code = "machine_failed"

    def __init__(self, message: str, *, our_fault: bool = False) -> None:
        super().__init__(message)
        self.our_fault = our_fault


class HostKeyChanged(BoxError):
    """The machine shows another SSH host key than the one pinned. Nothing was sent to it."""

    code = "host_key_changed"


class Unexpected(DumontError):
    """Something failed in a way nobody foresaw; what it did is unknown. The log has the trace."""

    code = "unexpected"


class StoreError(DumontError):
    """The object store failed; nothing is known about the object."""

    code = "store_error"


class SnapshotUnproven(DumontError):
    """A stored object is missing, short, or does not decode to what the machine froze."""

    code = "snapshot_unproven"

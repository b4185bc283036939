"""The market as a wake would see it: which offer it would take and why, and why not the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.callers import caller_of
from hibernation.api.fields import PriceField, SentenceField
from hibernation.api.serializers import KnownFieldsSerializer, PlaceField
from hibernation.domain import access
from hibernation.domain.offers import (
    Need,
    Offer,
    OfferFilter,
    Ranked,
    Ranking,
    Rejected,
    Relaxation,
    advise,
)
from hibernation.domain.offers.words import reasons, why_not
from hibernation.models import Instance
from hibernation.providers.registry import provider_names
from hibernation.said import in_language
from hibernation.services.access import Caller, find_instance
from hibernation.services.facts import wanted
from hibernation.services.offers import TooManyQuestions, need_of, ranking_for_people


class UsdField(serializers.DecimalField):
    """USD as text, to the hundredth of a cent."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=12, decimal_places=4, **kwargs)


class QuestionSerializer(KnownFieldsSerializer):
    """Without an instance: for a fresh one that wishes nothing else. What is given goes before the instance's own."""

    # Not the serializer's own attribute: its metaclass takes declared fields out of the class.
    instance = serializers.CharField(required=False, max_length=64)  # type: ignore[assignment]
    provider = serializers.CharField(required=False, max_length=32, help_text="not with an instance")
    gpu_type = serializers.CharField(required=False, max_length=64)
    region = PlaceField(required=False, max_length=32, help_text="regions or countries: EU, SE or EU,US")
    max_price = PriceField(required=False)
    disk_gb = serializers.IntegerField(required=False, min_value=1, max_value=1_000_000)
    limit = serializers.IntegerField(
        required=False, default=20, min_value=1, max_value=200, help_text="of each list"
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "instance" in attrs and "provider" in attrs:
            raise serializers.ValidationError({"provider": "An instance has its own."})
        return attrs


class WishSerializer(serializers.Serializer[OfferFilter]):
    """What was asked of every offer; zero and null: anything."""

    gpu_type = serializers.CharField(allow_null=True)
    gpu_count = serializers.IntegerField()
    allow_equivalent_gpus = serializers.BooleanField(source="allow_equivalents")
    region = serializers.CharField(allow_null=True)
    max_price_usd_per_hour = UsdField(source="max_price", allow_null=True)
    disk_gb = serializers.IntegerField(source="min_disk_gb")
    min_cuda = serializers.FloatField()
    min_reliability = serializers.FloatField()
    min_download_mbps = serializers.FloatField()
    min_hours_left = serializers.FloatField()


class NeedSerializer(serializers.Serializer[Need]):
    """What the rental is counted for; GB are 10^9 bytes."""

    restore_gb = serializers.FloatField()
    image_gb = serializers.FloatField()
    upload_gb = serializers.FloatField()
    session_hours = serializers.FloatField()


class OfferSerializer(serializers.Serializer[Offer]):
    offer_id = serializers.CharField()
    host = serializers.CharField()
    gpu_type = serializers.CharField()
    gpu_count = serializers.IntegerField()
    region = serializers.CharField()
    country = serializers.CharField()
    price_usd_per_hour = UsdField(source="price_per_hour")
    download_usd_per_gb = UsdField(source="download_usd_gb")
    upload_usd_per_gb = UsdField(source="upload_usd_gb")
    disk_gb = serializers.IntegerField()
    download_mbps = serializers.FloatField()
    reliability = serializers.FloatField()


class RankedSerializer(serializers.Serializer[Ranked]):
    """``reasons``: everything that decided on the rank, in words."""

    rank = serializers.IntegerField()
    expected_cost_usd = UsdField()
    expected_usable_seconds = serializers.FloatField()
    is_wished_gpu = serializers.BooleanField()
    offer = OfferSerializer()
    reasons = serializers.SerializerMethodField()

    def get_reasons(self, ranked: Ranked) -> list[str]:
        return [in_language(one) for one in reasons(ranked, self.context["ranking"])]


class RejectedSerializer(serializers.Serializer[Rejected]):
    offer = OfferSerializer()
    fails = serializers.ListField(child=serializers.CharField())
    why = serializers.SerializerMethodField()

    def get_why(self, rejected: Rejected) -> str:
        return in_language(why_not(rejected, self.context["ranking"].want))


class RelaxationSerializer(serializers.Serializer[Relaxation]):
    """What the best machine would cost were this one constraint relaxed ``to`` what is said."""

    constraint = serializers.CharField()
    to = serializers.CharField()
    expected_cost_usd = UsdField()
    offer = OfferSerializer()
    sentence = SentenceField()


class AdviceSerializer(serializers.Serializer[Any]):
    sentence = SentenceField()
    relaxations = RelaxationSerializer(many=True)


class MarketSerializer(serializers.Serializer[Any]):
    """``fitting`` and ``rejected_by`` count every offer; the lists hold the first of them.

    An offer that fails several constraints is counted under each. ``advice`` is there where nothing fits.
    """

    provider = serializers.CharField()
    wish = WishSerializer()
    need = NeedSerializer()
    fitting = serializers.IntegerField()
    offers = RankedSerializer(many=True)
    rejected_by = serializers.DictField(child=serializers.IntegerField())
    rejected = RejectedSerializer(many=True)
    advice = AdviceSerializer(allow_null=True)


class OffersView(APIView):
    """Which offers there are now, and which one a wake would take."""

    needs = {"GET": access.Need.READ}

    @extend_schema(operation_id="offers_list", parameters=[QuestionSerializer], responses=MarketSerializer)
    def get(self, request: Request) -> Response:
        """Ranked by what the work would cost there; lists of offers may be a minute old."""
        question = QuestionSerializer(data=request.query_params.dict())
        question.is_valid(raise_exception=True)
        asked = question.validated_data
        provider, want, need = _question(caller_of(request), asked)
        try:
            ranking = ranking_for_people(provider, want, need)
        except TooManyQuestions as error:
            raise Throttled(error.retry_after, error.message) from error
        return Response(_reply(provider, ranking, asked["limit"]))


def _question(caller: Caller, asked: Mapping[str, Any]) -> tuple[str, OfferFilter, Need]:
    if "instance" not in asked:
        provider = asked.get("provider", provider_names()[0])
        return provider, wanted(Instance(provider=provider), asked, None), Need()
    found = find_instance(caller, asked["instance"])
    return found.provider, wanted(found, asked, found.snapshot), need_of(found, found.snapshot)


def _reply(provider: str, ranking: Ranking, limit: int) -> dict[str, Any]:
    """The lists are in the ranking's order; those rejected for the fewest reasons come first."""
    nearest = sorted(ranking.rejected, key=lambda one: (len(one.fails), one.offer.price_per_hour))
    shown = {
        "provider": provider,
        "wish": ranking.want,
        "need": ranking.market.need,
        "fitting": len(ranking.ranked),
        "offers": ranking.ranked[:limit],
        "rejected_by": Counter(constraint.value for one in ranking.rejected for constraint in one.fails),
        "rejected": nearest[:limit],
        "advice": None if ranking.best is not None else advise(ranking),
    }
    return dict(MarketSerializer(shown, context={"ranking": ranking}).data)

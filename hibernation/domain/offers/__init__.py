"""The choice among offers: what fits, what it would really cost, which is best, and what to relax. Pure."""

from hibernation.domain.offers.advice import Advice, Relaxation, advise, loosened
from hibernation.domain.offers.fitting import Constraint, fits, gpu_types, misfits
from hibernation.domain.offers.memory import HostFacts, Verdict, verdict_on
from hibernation.domain.offers.ranking import Need, Ranked, Ranking, Rejected, rank_offers
from hibernation.domain.offers.values import Offer, OfferFilter

__all__ = [
    "Advice",
    "Constraint",
    "HostFacts",
    "Need",
    "Offer",
    "OfferFilter",
    "Ranked",
    "Ranking",
    "Rejected",
    "Relaxation",
    "Verdict",
    "advise",
    "fits",
    "gpu_types",
    "loosened",
    "misfits",
    "rank_offers",
    "verdict_on",
]

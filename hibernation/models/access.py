"""Teams, who is in them, and tokens: of people, of scripts, and for one machine. Only a token's SHA-256 is stored."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from hibernation.domain.access import Role, Scope
from hibernation.models.choices import choices, values


class Team(models.Model):
    """Who owns instances. What is one team's does not exist for the others."""

    name = models.CharField(max_length=64, unique=True)

    class Meta:
        constraints = [models.CheckConstraint(name="team_has_a_name", condition=~Q(name=""))]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """One user's role in one team."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=choices(Role), default=Role.VIEWER)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_membership_per_team", fields=["user", "team"]),
            models.CheckConstraint(name="membership_role_known", condition=Q(role__in=values(Role))),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"


class ApiToken(models.Model):
    """A bearer token ``dmt_…``. Acts as ``user``, within ``scope`` and ``team``; dies when revoked, itself or with the
    one that it was made with, or expired.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=12, blank=True, help_text="how it begins, to tell it from others")
    scope = models.CharField(
        max_length=8, choices=choices(Scope), default=Scope.ADMIN, help_text="the most it may do"
    )
    team = models.ForeignKey(
        Team,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        help_text="good for this one only; empty: for all",
    )
    made_with = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="made",
        help_text="the token that asked for it; empty: somebody in a session, or the installation",
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API token"
        constraints = [models.CheckConstraint(name="token_scope_known", condition=Q(scope__in=values(Scope)))]

    def __str__(self) -> str:
        return self.name


class Enrolment(models.Model):
    """The right to have one machine adopted, for whoever shows its token ``dme_…``.

    Dies when claimed or expired, and with the token that asked for it.
    """

    digest = models.CharField(max_length=64, unique=True)
    provider = models.CharField(max_length=32)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="enrolments")
    actor = models.CharField(max_length=100)
    made_with = models.ForeignKey(
        ApiToken, null=True, blank=True, on_delete=models.SET_NULL, related_name="enrolments"
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True, blank=True)
    instance = models.ForeignKey(
        "hibernation.Instance", null=True, blank=True, on_delete=models.PROTECT, related_name="enrolments"
    )

    def __str__(self) -> str:
        return f"enrolment {self.pk} for {self.provider}"

"""People at the console."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def guest_user(db: None) -> User:
    """Staff that may look at everything and order nothing."""
    user = User.objects.create_user("guest", is_staff=True)
    seen = Permission.objects.filter(codename__startswith="view_", content_type__app_label="hibernation")
    user.user_permissions.set(seen)
    return user


@pytest.fixture
def guest(guest_user: User) -> Client:
    client = Client()
    client.force_login(guest_user)
    return client

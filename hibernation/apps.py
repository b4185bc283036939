"""The Django app of the control plane."""

from django.apps import AppConfig


class HibernationConfig(AppConfig):
    name = "hibernation"
    verbose_name = "Dumont"
    default_auto_field = "django.db.models.BigAutoField"

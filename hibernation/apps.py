"""The Django app of the control plane."""

from django.apps import AppConfig


class HibernationConfig(AppConfig):
    name = "hibernation"
    verbose_name = "Dumont"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Django runs only the checks that somebody imported."""
        from hibernation import checks  # noqa: F401

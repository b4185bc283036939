"""The Django app of the control plane."""

from django.apps import AppConfig


class HibernationConfig(AppConfig):
    name = "hibernation"
    verbose_name = "Dumont"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Django runs only the checks that somebody imported. Providers know no database: they are handed the keys."""
        from hibernation import checks  # noqa: F401
        from hibernation.providers.accounts import look_up_keys_with
        from hibernation.said import speak_of
        from hibernation.services.credentials import stored_key

        look_up_keys_with(stored_key)
        speak_of(self.get_models())

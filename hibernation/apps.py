"""The Django app of the control plane."""

from django.apps import AppConfig


class HibernationConfig(AppConfig):
    name = "hibernation"
    verbose_name = "Dumont"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Django runs only the checks that somebody imported. Providers know no database: they are handed the keys."""
        from django.contrib.auth import get_user_model
        from django.db.models.signals import post_save

        from hibernation import checks  # noqa: F401
        from hibernation.providers.accounts import look_up_keys_with
        from hibernation.said import speak_of
        from hibernation.services.credentials import stored_key
        from hibernation.services.teams import welcome_superuser

        look_up_keys_with(stored_key)
        post_save.connect(welcome_superuser, sender=get_user_model(), dispatch_uid="teams")
        speak_of(self.get_models())

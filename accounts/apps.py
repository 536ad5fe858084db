from django.apps import AppConfig

from core.refusals import recorded_by


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self):
        from accounts import refusals

        recorded_by(refusals.record)

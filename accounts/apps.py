from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self):
        from accounts import refusals
        from core.refusals import recorded_by

        recorded_by(refusals.record)

from django.apps import AppConfig
from django.db.models.signals import post_save, pre_save


class GovernanceConfig(AppConfig):
    name = "governance"

    def ready(self):
        """Hear of people's names and addresses: their model is Django's, so no save of ours tells of them."""
        from django.contrib.auth.models import User

        from governance.signoff import people

        pre_save.connect(people.before_save, sender=User, dispatch_uid="was_named")
        post_save.connect(people.after_save, sender=User, dispatch_uid="was_named")

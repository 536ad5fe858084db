"""Django's PostgreSQL backend on the embedded server, which is started by the first connection.

So a command that needs no database (makemigrations, collectstatic) starts none, and a process that
outlives the server finds it again.
"""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base

from config import embedded


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self):
        locate(self.settings_dict)
        return super().get_connection_params()

    def get_new_connection(self, conn_params):
        try:
            return super().get_new_connection(conn_params)
        except base.Database.OperationalError:
            if embedded.join(settings.DEMARC_HOME):
                raise  # the server is well: it is about something else
            _fill(self.settings_dict, embedded.revive(settings.DEMARC_HOME))
            return super().get_new_connection(super().get_connection_params())


def locate(database):
    """Fill in host, port and password of the embedded server, starting it if it does not run."""
    if not database.get("HOST"):
        try:
            _fill(database, embedded.start(settings.DEMARC_HOME))
        except embedded.EmbeddedError as error:
            raise ImproperlyConfigured(str(error)) from error
    return database


def _fill(database, address):
    database.update(HOST=address.host, PORT=str(address.port), USER=address.user, PASSWORD=address.password)
